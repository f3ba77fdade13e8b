import csv
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from egan_jax import backbones, bundle, predict, predictor, scorers
from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Trunk
from egan_jax.bundle import Bundle
from egan_jax.data import image_files
from egan_jax.errors import UserError
from egan_jax.evaluation import thresholds
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.predict import Predictor

SIZE = 16


def _make_bundle(backbone, variables, pooling='average', **changes):
  """A model whose score is one feature, less its median over random images."""
  layers, _ = graph.split(backbone.layers, len(backbone.layers))
  front = FeatureExtractor((Trunk(variables, layers, 'none', SIZE),), (pooling,))
  features = np.asarray(
    jax.jit(lambda f, x: f(x))(front, _images(64) / np.float32(255))
  )
  best = features.std(axis=0).argmax()
  weights = np.zeros(features.shape[1])
  weights[best] = 10 / features[:, best].std()
  centre = np.median(features, axis=0)
  scorer = scorers.make({'centre': centre, 'weights': weights, 'offset': 0}, 'linear')
  values = {
    'method': 'nearest_class_mean',
    'backbones': (backbone.name,),
    'fine_tune_layers': 0,
    'image_size': SIZE,
    'preprocess': 'scale',
    'front': front,
    'scorer': scorer,
    'threshold': Threshold(0.1, 'zero', 'a promise'),
    'calibration': Calibration(-1.5, -0.25, 3, 40, 'a rough guide'),
    'prior': 0.125,
    'minority_class': 'crow',
    'majority_class': 'raven',
    'training': {},
    'held_out_scores': np.random.default_rng(0).normal(size=199).astype(np.float32),
  }
  return Bundle(**{**values, **changes})


def _images(number, size=SIZE):
  return np.random.default_rng(1).integers(0, 256, (number, size, size, 3), np.uint8)


@pytest.fixture(scope='module')
def model(tiny_backbone, tiny_variables):
  return _make_bundle(tiny_backbone, tiny_variables)


@pytest.fixture(scope='module')
def expected(model):
  """Scores of 23 images as the bundle itself computes them."""
  images = _images(23).astype(np.float32) / 255
  return np.asarray(jax.jit(lambda f, s, x: s(f(x)))(model.front, model.scorer, images))


@pytest.fixture
def files(tmp_path):
  """The same 23 images as lossless files, in an order that is not that of names."""
  (tmp_path / 'images').mkdir()
  paths = []
  for number, image in enumerate(_images(23)):
    path = tmp_path / 'images' / f'{(number * 7) % 23:02d} ä,".png'
    Image.fromarray(image).save(path)
    paths.append(path)
  return paths


def _read(path):
  with open(path, encoding='utf-8', newline='') as file:
    return list(csv.DictReader(file))


# The library call.


@pytest.mark.parametrize('batch_size', [1, 5, 23, 32])
def test_arrays_and_files_have_the_scores_of_the_bundle(
  batch_size, model, expected, files
):
  made = Predictor(model, batch_size=batch_size)
  np.testing.assert_allclose(made.scores(_images(23)), expected, atol=1e-4)
  np.testing.assert_array_equal(made.scores(files), made.scores(_images(23)))
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
  alone = made.scores(_images(23))
  np.testing.assert_array_equal(made.scores(_images(23)[::-1])[::-1], alone)
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
  assert made.scores([]).shape == made.scores(_images(0)).shape == (0,)
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


def _make_careful(model, value=3.0):
  """The model with a threshold that promises a sensitivity."""
  promised = Threshold(value, 'target_sensitivity', 'finds them')
  return dataclasses.replace(model, threshold=promised)


def test_a_model_abstains_where_its_promises_contradict_each_other(model, files):
  careful = _make_careful(model)
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
  predictions = Predictor(_make_careful(model, -5.0), abstain=0.9).predict(files)
  strict = Predictor(model, target_specificity=0.9).predict(files)
  assert predictions.decisions == strict.decisions
  assert predictions.region.majority == strict.threshold


def test_abstaining_needs_as_many_held_out_scores_as_its_specificity(model):
  for share, match in ((0.999, 'at least 999 held-out'), (1.5, 'less than 1')):
    with pytest.raises(UserError, match=match):
      Predictor(_make_careful(model), abstain=share)


@pytest.mark.parametrize(
  ('images', 'match'),
  [
    (np.zeros((2, 8, 8, 3), np.float32), 'float32 .* uint8'),
    (np.zeros((8, 8, 3), np.uint8), r'\[8, 8, 3\]'),
    (np.zeros((2, 8, 8, 4), np.uint8), r'\[2, 8, 8, 4\]'),
    ('cat.png', 'list of paths'),
    (['cat.png'], 'cat.png is missing'),
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
  image, given = _images(1)[0], itertools.count()
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


# The table.


def test_the_table_says_what_the_library_says(model, files, tmp_path):
  made = Predictor(model, target_specificity=0.9, batch_size=5)
  files = [*files[:7], tmp_path / 'gone.png', *files[7:]]
  counts, readable = predict.predict_to_file(made, files, tmp_path / 'a' / 'b.csv')
  rows = _read(tmp_path / 'a' / 'b.csv')
  assert [*rows[0]] == ['path', 'score', 'p_minority', 'decision', 'threshold', 'error']
  assert [row['path'] for row in rows] == [str(path) for path in files]
  predictions = made.predict(files)
  assert [row['decision'] for row in rows] == predictions.decisions
  assert rows[7] == {
    'path': str(tmp_path / 'gone.png'),
    'score': '',
    'p_minority': '',
    'decision': 'unreadable',
    'threshold': '',
    'error': 'is missing',
  }
  del rows[7]
  kept = np.delete(np.arange(24), 7)
  # Every digit is there: the table is enough to decide again.
  scores = np.array([float(row['score']) for row in rows])
  np.testing.assert_array_equal(scores, predictions.scores[kept])
  cuts = np.array([float(row['threshold']) for row in rows])
  assert (cuts == made.threshold.value).all()
  assert [row['decision'] == 'crow' for row in rows] == (scores < cuts).tolist()
  p = np.array([float(row['p_minority']) for row in rows])
  np.testing.assert_array_equal(p, predictions.p_minority[kept])
  assert {row['error'] for row in rows} == {''}
  assert readable == [files[i] for i in kept]
  assert counts == {n: predictions.decisions.count(n) for n in predictions.decisions}


def test_the_table_has_both_cuts_of_a_model_that_may_abstain(model, files, tmp_path):
  made = Predictor(_make_careful(model), abstain=0.9, batch_size=5)
  output = tmp_path / 'scores.csv'
  counts, _ = predict.predict_to_file(made, [*files, tmp_path / 'gone.png'], output)
  *rows, of_nothing = _read(output)
  assert [*of_nothing] == [*predict.COLUMNS, 'majority_from']
  assert (of_nothing['decision'], of_nothing['majority_from']) == ('unreadable', '')
  for row in rows:
    score, lower, upper = (
      float(row[name]) for name in ('score', 'threshold', 'majority_from')
    )
    expected = 'crow' if score < lower else 'abstain' if score < upper else 'raven'
    assert row['decision'] == expected
  assert counts['abstain'] == sum(row['decision'] == 'abstain' for row in rows) > 0


def test_without_a_calibration_the_column_is_empty(model, files, tmp_path):
  made = Predictor(dataclasses.replace(model, calibration=None))
  predict.predict_to_file(made, files, tmp_path / 'scores.csv')
  assert {row['p_minority'] for row in _read(tmp_path / 'scores.csv')} == {''}


def test_a_name_of_any_bytes_survives(model, tmp_path):
  path = os.fsencode(tmp_path) + b'/\xff\n.png'
  Image.fromarray(_images(1)[0]).save(os.fsdecode(path), format='png')
  predict.predict_to_file(Predictor(model), [os.fsdecode(path)], tmp_path / 's.csv')
  with open(tmp_path / 's.csv', newline='', errors='surrogateescape') as file:
    row = list(csv.reader(file))[1]
  assert os.fsencode(row[0]) == path and row[3] in ('crow', 'raven')


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError(28, 'No space left')])
def test_an_end_before_the_end_leaves_nothing(
  error, model, files, tmp_path, monkeypatch
):
  output = tmp_path / 'scores.csv'
  output.write_text('older\n')
  made = Predictor(model, batch_size=5)
  stream = made.stream

  def stop_after_two(paths):
    yield from itertools.islice(stream(paths), 2)
    raise error

  monkeypatch.setattr(made, 'stream', stop_after_two)
  with pytest.raises((KeyboardInterrupt, UserError)):
    predict.predict_to_file(made, files, output)
  assert output.read_text() == 'older\n'
  assert {path.name for path in tmp_path.iterdir()} == {'images', 'scores.csv'}


def test_a_table_that_cannot_be_written_is_a_user_error(model, files, tmp_path):
  with pytest.raises(UserError, match='is a folder'):
    predict.predict_to_file(Predictor(model), files, tmp_path)
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot write'):
    predict.predict_to_file(Predictor(model), files, tmp_path / 'file' / 'scores.csv')


# The command.


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
  """A run whose model stands on a backbone that every process knows."""
  backbone = backbones.get('SmallConvEncoder')
  variables = backbone.graph().init(
    jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), 'f')
  )
  folder = tmp_path_factory.mktemp('run')
  model = _make_bundle(backbone, variables, pooling=backbone.pooling)
  bundle.save(model, folder / 'model')
  return folder


def _start(run_folder, images, output, *arguments):
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'egan_jax.predict', f'--model={run_folder}'),
      *(f'--images={images}', f'--output={output}', *arguments),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_the_command_decides_and_reports_what_it_cannot_read(
  run_folder, files, tmp_path
):
  folder, output = tmp_path / 'images', tmp_path / 'scores.csv'
  for path in files[6:]:
    path.unlink()
  (folder / 'broken.png').write_bytes(files[0].read_bytes()[:60])
  (folder / 'notes.txt').write_text('no image')
  why = tmp_path / 'why'
  process = _start(
    run_folder, folder, output, '--target_specificity=0.9', f'--explain={why}'
  )
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 2, stderr
  rows = _read(output)
  assert [row['path'] for row in rows] == sorted(map(str, folder.glob('*.png')))
  (broken,) = [row for row in rows if row['decision'] == 'unreadable']
  assert broken['path'].endswith('broken.png') and 'damaged' in broken['error']
  readable = [row for row in rows if row is not broken]
  expected = Predictor(run_folder, target_specificity=0.9, batch_size=7)
  predictions = expected.predict([row['path'] for row in readable])
  scores = np.array([float(row['score']) for row in readable])
  np.testing.assert_allclose(scores, predictions.scores, rtol=1e-4, atol=1e-4)
  assert [row['decision'] for row in readable] == [
    'crow' if score < expected.threshold.value else 'raven' for score in scores
  ]
  assert f'{len(rows)} images' in stdout and '1 unreadable' in stdout
  assert expected.threshold.promise in stdout
  assert len([*why.glob('*.png')]) == len(readable) == 6


def test_the_command_abstains_and_says_what_that_promises(run_folder, files, tmp_path):
  careful, output = tmp_path / 'careful', tmp_path / 'scores.csv'
  bundle.save(_make_careful(bundle.load(run_folder)), careful / 'model')
  process = _start(careful, tmp_path / 'images', output, '--abstain=0.9')
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 0, stderr
  expected = Predictor(careful, abstain=0.9, batch_size=23)
  rows = _read(output)
  predictions = expected.predict([row['path'] for row in rows])
  assert [row['decision'] for row in rows] == predictions.decisions
  assert f'abstain counted as raven: {expected.threshold.promise}' in stdout
  assert 'abstain counted as crow: finds them' in stdout
  process = _start(
    careful, tmp_path / 'images', output, '--abstain=0.9', '--explain=why'
  )
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 1 and not stdout
  assert stderr == 'error: give --explain or --abstain: a picture explains a class\n'


def test_an_interrupt_leaves_nothing(run_folder, files, tmp_path):
  listed, output = tmp_path / 'images.csv', tmp_path / 'out' / 'scores.csv'
  with open(listed, 'w', newline='') as file:
    csv.writer(file).writerows([['path'], *[[str(path)] for path in files * 5_000]])
  process = _start(run_folder, listed, output)
  try:
    # Rows are there before the end, and not in their place.
    deadline = time.monotonic() + 240
    while not any(path.stat().st_size for path in tmp_path.glob('out/.*')):
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.05)
    assert not output.exists()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
  finally:
    process.kill()
    process.wait()
  assert process.returncode == 130
  assert 'Traceback' not in stderr
  assert not any(output.parent.iterdir())


def test_bad_input_is_one_line(run_folder, tmp_path):
  process = _start(run_folder, tmp_path / 'nowhere', tmp_path / 'scores.csv')
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 1 and not stdout
  assert stderr == f'error: there is no file or folder {tmp_path / "nowhere"}\n'
  assert not any(tmp_path.iterdir())
