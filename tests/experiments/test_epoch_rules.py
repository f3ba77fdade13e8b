"""The comparison of epoch rules on a tiny game, and that no test label is in it."""

import dataclasses
import io
import json

import numpy as np
import pytest

from egan_jax import rivals
from egan_jax.data import sources
from egan_jax.evaluation import thresholds
from experiments.epoch_rules import games, report
from experiments.epoch_rules.rules import RULES
from tests.experiments.stored_runs import ENVIRONMENT

NUM_EPOCHS = 3
_HIDDEN = object()  # nothing can be read from it


@pytest.fixture
def played(monkeypatch, tiny_registered):
  """The scores of three epochs of digits, and the labels that play never looked at."""
  load = sources.load
  kept = []

  def hide_labels(*arguments, **options):
    images = load(*arguments, **options)
    kept.append(images.test_is_minority)
    return dataclasses.replace(images, test_is_minority=_HIDDEN)

  monkeypatch.setattr(sources, 'load', hide_labels)
  arrays = games.play(
    dataclasses.replace(games.SETTINGS['digits'], image_size=16),
    '',
    seed=0,
    num_epochs=NUM_EPOCHS,
    backbone=tiny_registered,
    weights='none',
  )
  assert arrays.pop('is_minority') is _HIDDEN
  assert json.loads(str(arrays['environment']))['python']
  return arrays, kept[0]


def write(folder, arrays):
  folder.mkdir(exist_ok=True)
  path = folder / f'epoch_rules_digits_{NUM_EPOCHS}_seed0.npz'
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  path.write_bytes(buffer.getvalue())
  return path


def test_no_test_label_reaches_an_epoch_or_a_threshold(played, tmp_path, monkeypatch):
  arrays, labels = played
  assert arrays['test'].shape == (2, NUM_EPOCHS, 5, len(labels))
  # A fifth of 5 and of 100 images is held back.
  assert arrays['fed_minority'].shape == (2, NUM_EPOCHS, 5, 4)
  assert arrays['fed_majority'].shape == (2, NUM_EPOCHS, 5, 80)
  cuts = []
  target_specificity = thresholds.target_specificity

  def keep_cut(*arguments):
    cuts.append(target_specificity(*arguments))
    return cuts[-1]

  monkeypatch.setattr(thresholds, 'target_specificity', keep_cut)

  def judge(name, labels):
    cuts.clear()
    path = write(tmp_path / name, {**arrays, 'is_minority': labels})
    judged = report.judge('digits', 80, 128, {0: path})
    return judged['rules'], tuple(cuts)

  shuffled = np.random.default_rng(0).permutation(labels)
  judged, chosen = judge('true', labels)
  other, chosen_otherwise = judge('shuffled', shuffled)
  assert chosen == chosen_otherwise
  for name in judged:
    assert judged[name]['epoch'] == other[name]['epoch']
  assert judged['last']['zero']['auroc'] != other['last']['zero']['auroc']

  # And the oracle is never worse than what rules make of the same scores.
  oracle = next(values for name, values in judged.items() if name.startswith('oracle'))
  for rule in RULES:
    for threshold, fields in report.FIELDS.items():
      for field in fields:
        best, ours = (values[threshold][field] for values in (oracle, judged[rule]))
        assert (np.array(best) >= np.array(ours)).all()


def test_no_test_label_reaches_a_threshold_of_a_rival():
  rng = np.random.default_rng(0)
  labels = np.arange(40) < 20
  test = rng.normal(size=(40, 6)) + labels[:, None]
  rows, others = (
    rivals.compare(
      np.random.default_rng(1).normal(size=(80, 6)),
      np.random.default_rng(2).normal(size=(2, 3, 6)) + 1,
      test,
      is_minority,
      names=[n for n in rivals.names() if rivals.get(n).reads == rivals.FEATURES],
    )
    for is_minority in (labels, rng.permutation(labels))
  )
  for row, other in zip(rows, others, strict=True):
    assert row['threshold'] == other['threshold'], row['rival']
    assert row['threshold_rule'] == other['threshold_rule']
    if row['rival'] != 'always_minority':
      assert row['metrics']['auroc'] != other['metrics']['auroc']


@pytest.fixture
def noise():
  """The scores of games of noise."""
  rng = np.random.default_rng(0)
  return {
    'held_out': rng.normal(size=(2, 4, 5, 40)),
    'left_out': rng.normal(size=(2, 4, 5, 2)),
    'fed_minority': rng.normal(size=(2, 4, 5, 3)),
    'fed_majority': rng.normal(size=(2, 4, 5, 20)),
    'test': rng.normal(size=(2, 4, 5, 30)),
    'is_minority': np.arange(30) < 15,
    'seconds': np.array(2.0),
    'environment': np.array(json.dumps(ENVIRONMENT)),
  }


@pytest.fixture
def judged(noise, tmp_path):
  """What the rules make of games of noise."""
  return report.judge('noise', 24, 8, {0: write(tmp_path, noise)})


def test_the_report_is_written_and_names_every_rule(judged, tmp_path, monkeypatch):
  monkeypatch.setattr(report, 'RESULTS', tmp_path)
  report.write({'settings': {'noise': judged}})
  text = (tmp_path / 'epoch_rules.md').read_text()
  for rule in RULES:
    assert f'| {rule.replace("_", " ")} |' in text
    assert f'| running average, {rule.replace("_", " ")} |' in text
  assert '5 games (seeds 0, five folds each) of 4 epochs, 2 s on 2 cores of P' in text
  assert '--setting=noise --data_dir=DATA_DIR --seeds=0 --num_epochs=4`' in text
  assert (tmp_path / 'epoch_rules_noise.png').stat().st_size > 0
  # The average game of noise has nothing to tell rules apart by.
  against = judged['against_last']['most_stable']['zero auroc']
  assert against['low'] <= against['mean'] <= against['high']


def test_data_sets_stand_side_by_side_and_survive_being_stored(
  judged, tmp_path, monkeypatch
):
  monkeypatch.setattr(report, 'RESULTS', tmp_path)
  other = {**judged, 'title': 'other noise'}
  result = {'settings': {'noise': judged, 'other': other}}
  report.write(result)
  text = (tmp_path / 'epoch_rules.md').read_text()
  for title in ('AUROC', 'Balanced accuracy at 0', 'Balanced accuracy at held-out 95%'):
    assert f'| {title}: rule | noise | other noise |' in text
  last = judged['rules']['last']['zero']['auroc']
  cell = f'{np.mean(last):.3f} ± {np.std(last, ddof=1):.3f}'
  assert f'| last | {cell} | {cell} |' in text
  # A report of nothing new says the same of what was reported before.
  report.write({'settings': report.read()})
  assert (tmp_path / 'epoch_rules.md').read_text() == text


def test_the_machines_of_all_seeds_are_named(noise, tmp_path, monkeypatch):
  monkeypatch.setattr(report, 'RESULTS', tmp_path)
  monkeypatch.setattr(report, 'RULES', {'last': RULES['last']})
  other = {**noise, 'environment': np.array(json.dumps(ENVIRONMENT | {'cores': 3}))}
  played = {
    seed: write(tmp_path / str(seed), arrays)
    for seed, arrays in enumerate((noise, other))
  }
  report.write({'settings': {'noise': report.judge('noise', 24, 8, played)}})
  text = (tmp_path / 'epoch_rules.md').read_text()
  assert '4 s on 2 cores of P' in text
  assert ' and 3 cores of P' in text


def test_games_are_found_by_seed(tmp_path):
  for name in ('digits_3_seed0', 'digits_3_seed12', 'digits_30_seed1', 'bird_3_seed2'):
    (tmp_path / f'epoch_rules_{name}.npz').touch()
  assert sorted(games.find_games(tmp_path, 'digits', 3)) == [0, 12]
