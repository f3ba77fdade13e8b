"""The command and the table it writes."""

import csv
import dataclasses
import io
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

from egan_jax import backbones, bundle, predict
from egan_jax.errors import UserError
from egan_jax.predict import Predictor
from tests.small_models import SIZE, make_bundle, make_careful, make_images


def _read(path):
  with open(path, encoding='utf-8', newline='') as file:
    return list(csv.DictReader(file))


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
  assert readable == kept.tolist()
  assert counts == {n: predictions.decisions.count(n) for n in predictions.decisions}


def test_the_table_has_both_cuts_of_a_model_that_may_abstain(model, files, tmp_path):
  made = Predictor(make_careful(model), abstain=0.9, batch_size=5)
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
  Image.fromarray(make_images(1)[0]).save(os.fsdecode(path), format='png')
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
  model = make_bundle(backbone, variables, pooling=backbone.pooling)
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


@pytest.fixture
def command(run_command, run_folder):
  """Runs the command to its end."""

  def run(images, output, *arguments, model=run_folder):
    paths = (f'--model={model}', f'--images={images}', f'--output={output}')
    return run_command('egan_jax.predict', *paths, *arguments)

  return run


def test_the_command_decides_and_reports_what_it_cannot_read(
  command, run_folder, files, tmp_path
):
  folder, output = tmp_path / 'images', tmp_path / 'scores.csv'
  for path in files[6:]:
    path.unlink()
  (folder / 'broken.png').write_bytes(files[0].read_bytes()[:60])
  (folder / 'notes.txt').write_text('no image')
  why = tmp_path / 'why'
  status, stdout, stderr = command(
    folder, output, '--target_specificity=0.9', f'--explain={why}'
  )
  assert status == 2, stderr
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
  assert 'files passed over: 1 .txt' in stdout
  assert expected.threshold.promise in stdout
  panels = sorted(path.name for path in why.glob('*.png'))
  numbers = [number for number, row in enumerate(rows) if row is not broken]
  assert [int(name[:5]) for name in panels] == numbers and len(readable) == 6


def test_the_command_abstains_and_says_what_that_promises(
  command, run_folder, files, tmp_path
):
  careful, output = tmp_path / 'careful', '/dev/stdout'
  bundle.save(make_careful(bundle.load(run_folder)), careful / 'model')
  process = _start(careful, tmp_path / 'images', output, '--abstain=0.9')
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 0, stderr
  expected = Predictor(careful, abstain=0.9, batch_size=23)
  rows = [*csv.DictReader(io.StringIO(stdout))]  # and nothing else
  predictions = expected.predict([row['path'] for row in rows])
  assert [row['decision'] for row in rows] == predictions.decisions
  assert f'abstain counted as raven: {expected.threshold.promise}' in stderr
  assert 'abstain counted as crow: finds them' in stderr
  assert command(
    tmp_path / 'images', output, '--abstain=0.9', '--explain=why', model=careful
  ) == (1, '', 'error: give --explain or --abstain: a picture explains a class\n')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(number, run_folder, files, tmp_path):
  listed, output = tmp_path / 'images.csv', tmp_path / 'out' / 'scores.csv'
  with open(listed, 'w', newline='') as file:
    csv.writer(file).writerows([['path'], *[[str(path)] for path in files * 5_000]])
  # A job in a shell's background ignores interrupts, and so would what it starts.
  previous = signal.signal(signal.SIGINT, signal.default_int_handler)
  process = _start(run_folder, listed, output)
  signal.signal(signal.SIGINT, previous)
  try:
    # Rows are there before the end, and not in their place.
    deadline = time.monotonic() + 240
    while not any(path.stat().st_size for path in tmp_path.glob('out/.*')):
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.05)
    assert not output.exists()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
  finally:
    process.kill()
    process.wait()
  assert process.returncode == 128 + number
  assert 'Traceback' not in stderr
  assert not any(output.parent.iterdir())


def test_a_file_that_is_read_is_not_written(command, files, tmp_path):
  listed = tmp_path / 'images.csv'
  with open(listed, 'w', newline='') as file:
    csv.writer(file).writerows([['path', 'note'], [str(files[0]), 'precious']])
  status, _, stderr = command(listed, tmp_path / '.' / 'images.csv')
  assert status == 1
  assert stderr.endswith('is one of the files to read: give another to write\n')
  assert 'precious' in listed.read_text()


def test_nor_is_a_file_of_the_model(command, run_folder, files, tmp_path):
  model = run_folder / 'model' / 'model.json'
  before = model.read_bytes()
  status, _, stderr = command(tmp_path / 'images', model)
  assert status == 1 and 'one of the files to read' in stderr
  assert model.read_bytes() == before


@pytest.mark.parametrize('place', ['images', 'images/why', 'file', 'loop', 'nowhere'])
def test_pictures_have_a_folder_of_their_own(place, command, files, tmp_path):
  (tmp_path / 'file').touch()
  (tmp_path / 'loop').symlink_to('loop')
  (tmp_path / 'nowhere').symlink_to('not yet')
  status, _, stderr = command(
    tmp_path / 'images', tmp_path / 'scores.csv', f'--explain={tmp_path / place}'
  )
  assert status == 1 and stderr.count('\n') == 1 and place in stderr
  assert not (tmp_path / 'scores.csv').exists()


def test_bad_input_is_one_line(command, tmp_path):
  message = f'error: there is no file or folder {tmp_path / "nowhere"}\n'
  assert command(tmp_path / 'nowhere', tmp_path / 'scores.csv') == (1, '', message)
  assert not any(tmp_path.iterdir())
