"""Runs of every method to their decision: on digits, with a tiny network."""

import dataclasses
import functools
import json
import re

import jax
import numpy as np
import pytest

from egan_jax import (
  bundle,
  decision_results,
  feature_extractor,
  outcome,
  rivals,
  scorers,
  settings,
  train,
)
from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.bundle import references
from egan_jax.data import sources
from egan_jax.data.draws import Draws
from egan_jax.errors import UserError
from egan_jax.reporting import tables
from tests.small_runs import make_config, read_scores

pytestmark = pytest.mark.usefixtures('tiny_registered', 'without_figures')


_make_config = functools.partial(make_config, num_majority=60, batch_size=16)


@pytest.fixture(scope='module')
def game(tiny_registered, tmp_path_factory):
  """Workdir and summary of a game whose threshold comes from held-out images."""
  workdir = tmp_path_factory.mktemp('game')
  return workdir, train.train_and_evaluate(
    _make_config(threshold='target_specificity'), workdir
  )


def _check_model(folder, summary):
  """The model in the folder decides the test images as the run's first fold did."""
  model = bundle.load(folder)
  file = read_scores(folder)
  test = sources.load('digits', '', 8, 3).test
  scores = jax.jit(lambda images: model.score(to_unit_range(images)))(test)
  expected = file['scores'][0]
  np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max())
  assert model.threshold.value == summary['decision']['thresholds'][0]
  assert model.method == summary['decision']['method']
  assert (model.minority_class, model.majority_class) == ('8', '3')
  _check_references(model, json.loads((folder / 'draws.json').read_text()))


def _check_references(model, draws):
  """All of the minority and some of the majority, each as the image of its name is."""
  digits, kept = sources.load('digits', '', 8, 3), model.references
  numbers = np.array([int(name.split()[-1]) for name in kept.names])
  majority = [*draws['majority'], *draws['held_out_majority']]
  for is_minority, of_class, indices, drawn in (
    (True, digits.minority, digits.minority_indices, draws['minority'][0]),
    (False, digits.majority, digits.majority_indices, majority),
  ):
    named = numbers[kept.is_minority == is_minority]
    number = len(drawn) if is_minority else min(len(drawn), references.MAX_MAJORITY)
    assert len({*named}) == len(named) == number
    assert {*named} <= {*drawn}
    images = of_class[np.searchsorted(indices, named)]
    features = jax.jit(lambda images: model.features(to_unit_range(images)))(images)
    np.testing.assert_allclose(
      kept.features[kept.is_minority == is_minority], features, rtol=1e-4, atol=1e-5
    )
    thumbnails = kept.thumbnails[kept.is_minority == is_minority]
    np.testing.assert_allclose(
      thumbnails.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=3
    )


@pytest.mark.parametrize(
  ('method', 'reads'), [('nearest_class_mean', 'features'), ('fine_tuned', 'boundary')]
)
def test_rival(method, reads, tmp_path, monkeypatch):
  monkeypatch.setattr(references, 'MAX_MAJORITY', 20)
  # Only a game can stop there.
  config = _make_config(method=method, stop_at_nash=True)
  summary = train.train_and_evaluate(config, tmp_path)
  decision = summary['decision']
  assert decision['label'].startswith('honest')
  assert decision['threshold_rule'] == 'target_specificity'
  assert len(decision['thresholds']) == 2
  assert 'protocols' not in summary
  file = read_scores(tmp_path)
  recalls = [
    np.mean(scores[file['labels'] == 1] < threshold)
    for scores, threshold in zip(file['scores'], decision['thresholds'], strict=True)
  ]
  assert decision['metrics']['recall']['mean'] == pytest.approx(np.mean(recalls))
  assert {path.name for path in tmp_path.iterdir()} == {
    *('config.json', 'draws.json', 'model', 'report.html', 'scores.npz', 'summary.json')
  }
  _check_model(tmp_path, summary)
  assert bundle.load(tmp_path).scorer.reads == reads
  # The same call again changes nothing.
  before = (tmp_path / 'summary.json').stat().st_mtime_ns
  assert train.train_and_evaluate(config, tmp_path) == summary
  assert (tmp_path / 'summary.json').stat().st_mtime_ns == before


def test_features_of_two_backbones_and_mirror_images(tmp_path):
  config = _make_config(
    method='plda_knn',
    feature_backbones='Tiny+SmallConvEncoder',
    mirror_images=True,
  )
  summary = train.train_and_evaluate(config, tmp_path)
  assert summary['decision']['backbones'] == ['Tiny', 'SmallConvEncoder']
  assert {*summary['weights_sha256']} == {'Tiny', 'SmallConvEncoder'}
  front = bundle.load(tmp_path).front
  assert len(front.trunks) == 2
  assert front.mirrored
  _check_model(tmp_path, summary)
  assert 'seen by Tiny and SmallConvEncoder' in (tmp_path / 'report.html').read_text()


def test_game_with_a_threshold_from_held_out_majority(game):
  workdir, summary = game
  draws = json.loads((workdir / 'draws.json').read_text())
  held_out = set(draws['held_out_majority'])
  assert len(held_out) == 19  # as many as a specificity of 0.95 takes
  assert len(draws['majority']) == 60 - 19
  assert not held_out & set(draws['majority'])
  assert summary['decision']['threshold_rule'] == 'target_specificity'
  model = bundle.load(workdir)
  images = sources.load('digits', '', 8, 3)
  positions = np.isin(images.majority_indices, list(held_out))
  scores = model.score(to_unit_range(images.majority[positions]))
  assert model.threshold.value == pytest.approx(float(np.min(scores)), rel=1e-4)
  _check_model(workdir, summary)


def test_minority_that_chose_the_epoch_promises_nothing(game):
  _, summary = game
  assert any(
    note.startswith('no P(minority): the minority images of a game choose')
    for note in summary['decision']['notes']
  )
  assert 'brier' not in summary['decision']['metrics']


def test_one_fold_has_intervals_and_the_prior_that_was_asked_for(tmp_path):
  config = _make_config(method='nearest_class_mean', num_folds=1, prior=0.01)
  summary = train.train_and_evaluate(config, tmp_path)
  decision = summary['decision']
  measured = decision['metrics']['f1']
  assert measured['low'] <= measured['mean'] <= measured['high']
  at_prior = decision['metrics_at_prior']
  recall, specificity = (
    decision['metrics'][name]['mean'] for name in ('recall', 'specificity')
  )
  found, alarms = 0.01 * recall, 0.99 * (1 - specificity)
  assert at_prior['precision']['mean'] == pytest.approx(found / (found + alarms))
  assert at_prior['recall']['mean'] == pytest.approx(recall)
  text = tables.run_text(summary)
  assert 'nearest_class_mean was asked for.' in text
  assert f'({measured["low"]:.3f} to {measured["high"]:.3f})' in text
  assert 'always minority   at prior 0.01' in text
  ending = 'At prior 0.01 the F1 of "always minority" is 0.020.'
  assert ' '.join(text.split()).endswith(ending)
  assert max(map(len, text.splitlines())) <= 80
  page = (tmp_path / 'report.html').read_text()
  assert 'over folds' not in page and 'Every fold' not in page
  assert 'at prior 0.01' in page
  assert re.search(r'most like it of 3: training image \d+ \(cosine 0\.\d{3}\)', page)


def test_game_with_too_few_images_to_hold_out_says_so(tmp_path):
  config = _make_config(threshold='target_specificity', num_majority=30)
  decision = train.train_and_evaluate(config, tmp_path)['decision']
  assert decision['thresholds'] == [0.0, 0.0]
  assert any(
    note.startswith('the rule target_specificity cannot be kept: 30 majority images')
    for note in decision['notes']
  )


def test_paper_holds_nothing_out(tmp_path):
  summary = train.train_and_evaluate(_make_config(), tmp_path)
  draws = json.loads((tmp_path / 'draws.json').read_text())
  assert draws['held_out_majority'] == []
  assert summary['decision']['thresholds'] == [0.0, 0.0]
  honest = summary['protocols']['honest']['metrics']['f1']
  assert summary['decision']['metrics']['f1']['mean'] == pytest.approx(honest['mean'])
  _check_model(tmp_path, summary)


def _shuffle_labels(load):
  """Loads what `load` does, the test labels shuffled."""

  def load_shuffled(*arguments, **options):
    images = load(*arguments, **options)
    shuffled = np.random.default_rng(0).permutation(images.test_is_minority)
    return dataclasses.replace(images, test_is_minority=shuffled)

  return load_shuffled


def test_auto_reads_no_test_label(tmp_path, monkeypatch):
  """With the test labels shuffled: another score, the same method and thresholds."""
  config = _make_config(method='auto')
  summary = train.train_and_evaluate(config, tmp_path / 'right')
  monkeypatch.setattr(sources, 'load', _shuffle_labels(sources.load))
  other = train.train_and_evaluate(config, tmp_path / 'shuffled')
  for field in ('method', 'why', 'threshold_rule', 'thresholds', 'promise', 'notes'):
    assert summary['decision'][field] == other['decision'][field]
  assert summary['decision']['metrics'] != other['decision']['metrics']
  (chosen,) = [row for row in summary['rivals'] if row['chosen']]
  assert chosen['rival'] == summary['decision']['method']
  assert len(summary['rivals']) > 5
  text = tables.run_text(summary)
  assert max(map(len, text.splitlines())) <= 80
  assert summary['decision']['why'].split()[0] in text
  assert 'of the first of 2 draws' in summary['decision']['why']


def test_game_reads_no_test_label(game, tmp_path, monkeypatch):
  _, summary = game
  monkeypatch.setattr(sources, 'load', _shuffle_labels(sources.load))
  config = _make_config(threshold='target_specificity')
  other = train.train_and_evaluate(config, tmp_path)
  assert summary['decision']['thresholds'] == other['decision']['thresholds']
  epochs = [s['protocols']['honest']['epochs'] for s in (summary, other)]
  assert epochs[0] == epochs[1]
  assert summary['decision']['metrics'] != other['decision']['metrics']


def test_seeds_side_by_side_are_the_seeds_alone(tmp_path):
  """All majority images are used, so that every seed has the same."""
  config = _make_config(num_majority=0, num_seeds=2, num_folds=1, seed=4)
  both = train.train_and_evaluate(config, tmp_path / 'both')
  scores = read_scores(tmp_path / 'both')['scores']
  config = _make_config(num_majority=0, num_folds=1, seed=4)
  alone = train.train_and_evaluate(config, tmp_path / 'alone')
  np.testing.assert_allclose(
    scores[:1], read_scores(tmp_path / 'alone')['scores'], atol=1e-4
  )
  by_seed = both['protocols_by_seed']
  assert len(by_seed) == 2
  assert by_seed[0]['honest']['metrics']['auroc']['mean'] == pytest.approx(
    alone['protocols']['honest']['metrics']['auroc']['mean'], abs=1e-3
  )


def test_game_needs_test_images_of_both_classes(tmp_path, monkeypatch):
  load = sources.load

  def load_without(*arguments, **options):
    images = load(*arguments, **options)
    return dataclasses.replace(
      images,
      test=images.test[:0],
      test_is_minority=images.test_is_minority[:0],
      test_indices=images.test_indices[:0],
    )

  monkeypatch.setattr(sources, 'load', load_without)
  with pytest.raises(UserError, match='no test images of 8 and 3'):
    train.train_and_evaluate(_make_config(), tmp_path / 'egan')
  assert not (tmp_path / 'egan').exists()
  config = _make_config(method='nearest_class_mean')
  summary = train.train_and_evaluate(config, tmp_path / 'rival')
  assert summary['decision']['metrics'] is None
  assert 'Not measured' in tables.run_text(summary)


def test_draws_that_are_the_same_are_no_draws(tmp_path, monkeypatch):
  monkeypatch.setattr(train, 'draw', lambda *_, **__: Draws(np.arange(4)[None], None))
  config = _make_config(method='nearest_class_mean', num_seeds=3)
  with pytest.raises(UserError, match='all 3 draws are the same 4 minority images'):
    train.train_and_evaluate(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_features_that_tell_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(
    feature_extractor, 'run', lambda _, images: np.ones((len(images), 3), np.float32)
  )
  with pytest.raises(UserError, match='choose a larger'):
    train.train_and_evaluate(_make_config(method='plda'), tmp_path)


def test_default_threshold_is_the_papers_for_the_paper():
  for method, rule in (('egan', 'zero'), ('auto', 'expected_f1')):
    assert settings.from_config(_make_config(method=method)).decision.rule.name == rule


def _reach(held_out, scores):
  """What a run with these scores of one fold came to."""
  decision = rivals.decide_from_scores(
    scorers.make({'value': 0.0}, 'constant'), held_out, None, rivals.ThresholdRule()
  )
  candidate = outcome.Candidate([decision], scores[None], None, {})
  return outcome.Outcome('method', 'why', {'method': candidate}, {})


@pytest.mark.parametrize(
  ('share', 'prior', 'shown'),
  [(0.5, 0.54, False), (0.05, 0.06, False), (0.05, 0.001, True), (0.05, 0.1, True)],
)
def test_a_prior_unlike_the_test_sets_is_shown(share, prior, shown):
  """Of rare classes as well: one in a thousand is not one in twenty."""
  rng = np.random.default_rng(0)
  is_minority = np.arange(200) < 200 * share
  reached = _reach(rng.normal(size=200), rng.normal(-4.0 * is_minority))
  at_prior = decision_results.describe(reached, is_minority, prior=prior)
  assert (at_prior['metrics_at_prior'] is not None) == shown


def test_a_game_that_test_labels_stopped_is_an_oracle_among_candidates():
  reached = _reach(np.arange(50.0), np.arange(20.0))
  (candidate,) = reached.candidates.values()
  reached = dataclasses.replace(reached, candidates={'egan': candidate, 'b': candidate})
  for oracle, name in ((False, 'egan'), (True, 'egan (oracle)')):
    rows = decision_results.describe_candidates(reached, np.arange(20) < 5, oracle)
    assert [row['rival'] for row in rows] == [name, 'b']


@pytest.mark.parametrize(('shift', 'broken'), [(0.0, False), (-2.0, True)])
def test_note_of_a_promise_that_the_test_set_breaks(shift, broken):
  rng = np.random.default_rng(0)
  held_out = rng.normal(size=200)
  is_minority = np.arange(150) < 50
  reached = _reach(held_out, rng.normal(np.where(is_minority, -4, shift)))
  notes = decision_results.describe(reached, is_minority)['notes']
  assert len(notes) == broken
  assert all('less than promised' in note for note in notes)
