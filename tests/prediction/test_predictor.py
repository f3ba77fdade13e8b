"""The library call: images in, scores and decisions out."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from egan_jax import bundle, predictor
from egan_jax.data import image_files
from egan_jax.errors import UserError
from egan_jax.evaluation import thresholds
from egan_jax.predict import Predictor
from tests.small_models import make_careful, make_images


@pytest.fixture(scope='module')
def expected(model):
  """Scores of 23 images as the bundle itself computes them."""
  images = make_images(23).astype(np.float32) / 255
  return np.asarray(jax.jit(lambda f, s, x: s(f(x)))(model.front, model.scorer, images))


@pytest.mark.parametrize('batch_size', [1, 5, 23, 32])
def test_arrays_and_files_have_the_scores_of_the_bundle(
  batch_size, model, expected, files
):
  made = Predictor(model, batch_size=batch_size)
  np.testing.assert_allclose(made.scores(make_images(23)), expected, atol=1e-4)
  np.testing.assert_array_equal(made.scores(files), made.scores(make_images(23)))
  strings = [str(path) for path in files]
  np.testing.assert_array_equal(made.predict(strings).scores, made.scores(files))


def test_decisions_follow_the_definition(model, expected, files):
  predictions = Predictor(model).predict(files)
  scores = predictions.scores.astype(np.float64)
  names = ['crow' if score < 0.1 else 'raven' for score in scores]
  assert predictions.decisions == names
  assert {*names} == {'crow', 'raven'}  # or this test says nothing
  odds = np.exp(-1.5 - 0.25 * scores) * 0.125 / 0.875
  np.testing.assert_allclose(predictions.p_minority, odds / (1 + odds))
  assert predictions.threshold == model.threshold
  assert predictions.errors == [''] * 23


def test_scores_do_not_depend_on_the_company(model, files):
  """Padding, neighbours and unreadable files change nothing."""
  made = Predictor(model, batch_size=4)
  alone = made.scores(make_images(23))
  np.testing.assert_array_equal(made.scores(make_images(23)[::-1])[::-1], alone)
  mixed = [files[0], 'gone.png', *files[1:3], 'gone.png', 'gone.png', *files[3:]]
  predictions = made.predict(mixed)
  readable = [i for i, path in enumerate(mixed) if path != 'gone.png']
  np.testing.assert_array_equal(predictions.scores[readable], alone)
  assert np.isnan(predictions.scores[[1, 4, 5]]).all()
  assert predictions.decisions[1] == 'unreadable'
  assert [bool(e) for e in predictions.errors] == [p == 'gone.png' for p in mixed]


def test_features_are_what_the_scorer_reads(model, expected, files):
  made = Predictor(model, batch_size=5)
  features = made.features(files)
  assert features.shape == (23, 12) and features.dtype == np.float32
  np.testing.assert_allclose(model.scorer.scores(features), expected, atol=1e-4)


def test_no_images_are_no_error(model):
  made = Predictor(model)
  assert made.scores([]).shape == made.scores(make_images(0)).shape == (0,)
  assert made.features([]).shape == (0, 12)
  predictions = made.predict([])
  assert predictions.decisions == [] and predictions.p_minority.shape == (0,)


def test_one_shape_is_compiled_once(model, files):
  made = Predictor(model, batch_size=6)
  made.scores(files[:1])
  compiled = predictor._score._cache_size()
  for number in (1, 5, 6, 7, 23):
    made.predict(files[:number])
  Predictor(dataclasses.replace(model), batch_size=6).scores(files)
  assert predictor._score._cache_size() == compiled


@pytest.mark.parametrize('shape', [(5, 30, 41, 3), (9, 7, 9, 3)])
def test_arrays_of_any_size_are_squashed_and_compile_no_network(shape, model):
  made = Predictor(model, batch_size=4)
  images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  made.scores(images[:, :3, :4])
  compiled = predictor._score._cache_size()
  scores = made.scores(images)
  assert predictor._score._cache_size() == compiled
  whole = jax.jit(lambda f, s, x: s(f(x)))(model.front, model.scorer, images / 255)
  np.testing.assert_allclose(scores, whole, rtol=1e-4, atol=1e-4)


def test_a_model_on_disk_decides_the_same(model, tiny_registered, files, tmp_path):
  bundle.save(model, tmp_path / 'run' / 'model')
  for folder in (tmp_path / 'run', tmp_path / 'run' / 'model'):
    loaded = Predictor(folder).predict(files)
    given = Predictor(model).predict(files)
    np.testing.assert_array_equal(loaded.scores, given.scores)
    np.testing.assert_array_equal(loaded.p_minority, given.p_minority)
    assert loaded.decisions == given.decisions


def test_without_a_calibration_there_is_no_probability(model, files):
  model = dataclasses.replace(model, calibration=None)
  assert Predictor(model).predict(files).p_minority is None


@pytest.mark.parametrize('value', [-1.0, np.inf, -np.inf])
def test_a_threshold_can_be_given(value, model, files):
  predictions = Predictor(model, threshold=value).predict(files)
  minority = predictions.scores < value
  assert [name == 'crow' for name in predictions.decisions] == minority.tolist()
  assert predictions.threshold.value == value


@pytest.mark.parametrize('folds', [None, 5])
def test_a_specificity_chooses_the_cut_on_held_out_scores(folds, model):
  model = dataclasses.replace(model, held_out_folds=folds)
  chosen = Predictor(model, target_specificity=0.9).threshold
  assert chosen == thresholds.target_specificity(model.held_out_scores, 0.9, folds)
  # 20 of 199 are below or at it, one of them at it.
  assert chosen.calls_minority(model.held_out_scores).sum() == 19


@pytest.mark.parametrize(
  ('options', 'match'),
  [
    ({'threshold': 0.0, 'target_specificity': 0.9}, 'not both'),
    ({'threshold': float('nan')}, 'not a number'),
    ({'target_specificity': 1.5}, 'less than 1'),
    ({'target_specificity': 0.999}, 'at least 999 held-out'),
    ({'batch_size': 0}, 'batch_size=0'),
    ({'abstain': 0.9, 'threshold': 0.0}, 'one of them'),
    ({'abstain': 0.9, 'target_specificity': 0.9}, 'one of them'),
    ({'abstain': 0.9}, "this one's is by zero"),
  ],
)
def test_impossible_options_are_refused(options, match, model):
  with pytest.raises(UserError, match=match):
    Predictor(model, **options)


def test_a_specificity_needs_held_out_scores(model):
  model = dataclasses.replace(model, held_out_scores=None)
  with pytest.raises(UserError, match='give a threshold instead'):
    Predictor(model, target_specificity=0.9)


def test_a_model_abstains_where_its_promises_contradict_each_other(model, files):
  careful = make_careful(model)
  made = Predictor(careful, abstain=0.9)
  strict = Predictor(model, target_specificity=0.9).threshold
  assert made.threshold == strict
  predictions = made.predict([*files, 'gone.png'])
  *decisions, of_nothing = predictions.decisions
  assert of_nothing == 'unreadable'
  for score, decision in zip(predictions.scores[:-1], decisions, strict=True):
    assert (decision == 'crow') == (score < strict.value)
    assert (decision == 'raven') == (score >= 3)
  assert {*decisions} == {'crow', 'raven', 'abstain'}  # or this test says nothing
  # Counted as either class, what is open gives that class's own decision.
  for other, options in (('crow', {}), ('raven', {'target_specificity': 0.9})):
    counted = [other if d == 'abstain' else d for d in decisions]
    assert counted == Predictor(careful, **options).predict(files).decisions


def test_nothing_is_left_open_where_one_cut_keeps_both_promises(model, files):
  predictions = Predictor(make_careful(model, -5.0), abstain=0.9).predict(files)
  strict = Predictor(model, target_specificity=0.9).predict(files)
  assert predictions.decisions == strict.decisions
  assert predictions.region.majority == strict.threshold


def test_abstaining_needs_as_many_held_out_scores_as_its_specificity(model):
  for share, match in ((0.999, 'at least 999 held-out'), (1.5, 'less than 1')):
    with pytest.raises(UserError, match=match):
      Predictor(make_careful(model), abstain=share)


@pytest.mark.parametrize(
  ('images', 'match'),
  [
    (np.zeros((2, 8, 8, 3), np.float32), 'float32 .* uint8'),
    (np.zeros((8, 8, 3), np.uint8), r'\[8, 8, 3\]'),
    (np.zeros((2, 8, 8, 4), np.uint8), r'\[2, 8, 8, 4\]'),
    (np.zeros((2, 0, 8, 3), np.uint8), r'\[2, 0, 8, 3\]'),
    ('cat.png', 'list of paths'),
    (['cat.png'], 'cat.png is missing'),
    ([np.zeros((8, 8, 3), np.uint8)], 'ndarray is no path'),
  ],
)
def test_what_is_no_image_is_refused(images, match, model):
  with pytest.raises(UserError, match=match):
    Predictor(model).scores(images)


def test_a_score_that_is_not_finite_is_no_decision(model, files):
  arrays = {**model.scorer.arrays, 'offset': np.float32(np.nan)}
  model = dataclasses.replace(model, scorer=model.scorer.replace(arrays=arrays))
  predictions = Predictor(model).predict(files)
  assert {*predictions.decisions} == {'unreadable'}
  assert 'not finite' in predictions.errors[0]


def test_files_are_read_no_further_ahead_than_needed(model, monkeypatch):
  """Whatever the number of files: here they never end."""
  image, given = make_images(1)[0], itertools.count()
  monkeypatch.setattr(image_files, 'decode', lambda source, size: image)

  def paths():
    for number in given:
      yield str(number)

  stream = Predictor(model, batch_size=8).stream(paths())
  for _ in range(20):
    next(stream)
  # 160 are out; two batches may be under way, and what `decode_many` keeps ahead.
  assert next(given) <= 160 + 16 + 64 + 8
  stream.close()


def test_the_device_is_never_without_work(model, files, monkeypatch):
  """A batch is waited for when the next one is on the device already."""
  events = []

  class Results:
    def __init__(self, batch, scores):
      self._batch, self._scores = batch, scores

    def __array__(self, dtype=None, copy=None):
      events.append(('waited for', self._batch))
      return np.array(self._scores)

  def score(*arguments):
    batch = len([event for event, _ in events if event == 'started'])
    events.append(('started', batch))
    return Results(batch, _score(*arguments))

  expected = Predictor(model, batch_size=6).scores(files)
  _score = predictor._score
  monkeypatch.setattr(predictor, '_score', score)
  np.testing.assert_array_equal(Predictor(model, batch_size=6).scores(files), expected)
  assert events == [
    ('started', 0),
    ('started', 1),
    ('waited for', 0),
    ('started', 2),
    ('waited for', 1),
    ('started', 3),
    ('waited for', 2),
    ('waited for', 3),
  ]
