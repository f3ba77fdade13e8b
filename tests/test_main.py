"""The command line: what a user sees, and one clear line for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egan_jax import config as egan_config
from tests.small_runs import FROM_SCRATCH

CONFIGS = Path(__file__).parents[1] / 'configs'
QUICKSTART = f'--config={CONFIGS}/quickstart.py'
CIFAR10 = f'--config={CONFIGS}/cifar10.py'
SMALL = [f'--config.{field}={value}' for field, value in FROM_SCRATCH.items()]
# Nothing listens there: no test depends on what the network has.
NO_NETWORK = {
  name: 'http://127.0.0.1:9'
  for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')
}


@pytest.fixture
def command(run_command, tmp_path):
  """Runs the command in `tmp_path`; returns exit status and what it printed."""

  def run(*arguments, **environment):
    return run_command(
      'egan_jax.main',
      *arguments,
      folder=tmp_path,
      environment={**NO_NETWORK, **environment},
    )

  return run


def _snapshot(folder):
  return {
    path: path.is_file() and (path.stat().st_mtime_ns, path.read_bytes())
    for path in folder.rglob('*')
  }


@pytest.fixture
def refused(command, tmp_path):
  """Runs a command that must end in one line and change no file; returns the line."""

  def run(*arguments, **environment):
    before = _snapshot(tmp_path)
    result = command(*arguments, **environment)
    print(result.stderr)
    assert result.stdout == ''
    assert result.stderr.startswith('error: ')
    assert result.stderr.endswith('\n')
    assert result.stderr.count('\n') == 1, result.stderr
    assert result.status == 1
    assert _snapshot(tmp_path) == before
    return result.stderr

  return run


@pytest.mark.parametrize(
  ('arguments', 'parts'),
  [
    (('--config.num_epoch=1',), ("unknown config field: 'num_epoch'", 'num_epochs')),
    (('--config.loss.weight=1',), ("unknown config field: 'loss'",)),
    (('--config.seed.low=1',), ('unknown config field', 'seed.low')),
    (('--config.generator_backbone=ResNet9',), ("'ResNet9'", 'DenseNet121')),
    (('--config.dataset=mnist',), ("'mnist'", 'digits')),
    (('--config.minority_class=3',), ('minority_class', 'both 3')),
    (('--config.minority_class=11',), ('class 11',)),
    (('--config.num_minority=1000',), ('num_minority=1000', '104')),
    (('--config.num_minority=50',), ('5 folds of 50', 'overlap', '104')),
    (('--config.num_majority=9999',), ('num_majority=9999', '110')),
    (('--config.num_epochs=two',), ('num_epochs', 'two')),
    (('--config.num_epochs=2.5',), ('num_epochs', '2.5')),
    (('--config.stop_at_nash=maybe',), ('stop_at_nash', 'maybe')),
    (('--config.learning_rate=0',), ('learning_rate',)),
    (('--config.fine_tune_layers=1000',), ('fine_tune_layers=1000', '150')),
    (('--config.generator_weights=none.h5',), ('no weights file', 'none.h5')),
    (
      ('--config.generator_backbone=SmallConvEncoder',),
      ('SmallConvEncoder', 'scratch'),
    ),
    (('junk',), ("'junk'",)),
    (('--junk=1',), ('junk',)),
    (('--workdir=',), ('--workdir is missing',)),
  ],
)
def test_bad_value(refused, arguments, parts):
  message = refused(QUICKSTART, '--workdir=out', *arguments)
  for part in parts:
    assert part in message


@pytest.mark.parametrize(
  ('arguments', 'parts'),
  [
    ((), ('--config is missing',)),
    ((QUICKSTART,), ('--workdir is missing',)),
    (('--workdir=out',), ('--config is missing',)),
    (('--workdir=out', '--config=none.py'), ('none.py',)),
    (('--workdir=out', f'{CIFAR10}:7'), ("ratio '7'", '2500, 1000, 500')),
    (('--workdir=out', f'{QUICKSTART}:7'), ('quickstart.py:7', '0 positional')),
    (('--workdir=out', '--config=none.py', '--config.seed=1'), ('none.py',)),
    (('--workdir=out', '--config=.'), ('config file', 'directory')),
    (('--workdir=out', QUICKSTART, '--config.num_epochs'), ('num_epochs',)),
  ],
)
def test_bad_command_line(refused, arguments, parts):
  message = refused(*arguments)
  for part in parts:
    assert part in message


def test_damaged_weights_file(refused, write_legacy, tmp_path):
  path = write_legacy(
    tmp_path / 'weights.h5',
    [('conv1/conv', [('kernel:0', np.zeros((7, 7, 3, 63), np.float32))])],
  )
  arguments = QUICKSTART, '--workdir=out', f'--config.generator_weights={path}'
  message = refused(*arguments)
  assert f'{path} does not fit EfficientNetLite0' in message
  path.write_bytes(path.read_bytes()[:3000])
  assert f'{path}' in refused(*arguments)
  path.unlink()
  path.mkdir()
  assert f'{path}' in refused(*arguments)


def test_published_weights(refused, tmp_path):
  """Damaged in the weights folder, or not there and not to be had."""
  folder = tmp_path / 'weights'
  folder.mkdir()
  (folder / 'efficientnet-lite0-57934424.pth').write_bytes(b'not what is published')
  message = refused(QUICKSTART, '--workdir=out', EGAN_WEIGHTS_DIR=str(folder))
  for part in (str(folder), 'sha256', '579344248a93e23026e6b78f1f6faf0bc1d282386f6'):
    assert part in message
  message = refused(
    QUICKSTART,
    '--workdir=out',
    '--config.generator_backbone=DenseNet121',
    EGAN_WEIGHTS_DIR=str(folder),
  )
  name = 'densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5'
  for part in (f'keras-applications/densenet/{name}', str(folder), 'EGAN_WEIGHTS_DIR'):
    assert part in message


def test_data_set_that_is_not_prepared(refused, tmp_path):
  (tmp_path / 'data').mkdir()
  message = refused(CIFAR10, '--workdir=out', '--config.data_dir=data')
  for part in ('cifar10', 'data', 'cs.toronto.edu', 'network', 'config.data_dir'):
    assert part in message


def test_workdir_that_cannot_be_written_to(refused, tmp_path):
  (tmp_path / 'file').write_text('in the way')
  for workdir in ('file', 'file/below'):
    message = refused(QUICKSTART, f'--workdir={workdir}')
    assert str(tmp_path / 'file') in message


@pytest.mark.skipif(os.getuid() == 0, reason='root may write anywhere')
def test_workdir_that_is_read_only(refused, tmp_path):
  (tmp_path / 'locked').mkdir(mode=0o555)
  for workdir in ('locked', 'locked/below'):
    assert str(tmp_path / 'locked') in refused(QUICKSTART, f'--workdir={workdir}')


def test_home_is_found_after_an_equals_sign(refused, tmp_path):
  (tmp_path / 'thesis').mkdir()
  (tmp_path / 'thesis' / 'thesis.tex').touch()
  message = refused(QUICKSTART, '--workdir=~/thesis', HOME=str(tmp_path))
  assert str(tmp_path / 'thesis') in message


def test_workdir_of_something_else(refused, tmp_path):
  workdir = tmp_path / 'out'
  workdir.mkdir()
  (workdir / 'thesis.tex').write_text('other work')
  assert 'other files' in refused(QUICKSTART, '--workdir=out')
  (workdir / 'config.json').write_text('{"seed": ')
  assert 'damaged' in refused(QUICKSTART, '--workdir=out')
  (workdir / 'config.json').write_text(json.dumps(egan_config.default().to_dict()))
  message = refused(QUICKSTART, '--workdir=out')
  assert 'another config' in message
  assert 'dataset' in message


def test_good_run(command, tmp_path):
  arguments = QUICKSTART, '--workdir=out', *SMALL
  result = command(*arguments)
  assert result.status == 0
  assert result.stderr == ''
  for part in (
    'F1',
    'balanced accuracy',
    'paper (oracle)',
    'honest',
    'always minority',
  ):
    assert part in result.stdout
  workdir = tmp_path / 'out'
  files = {path.name for path in workdir.iterdir()}
  for name in ('summary.json', 'metrics.jsonl', 'scores.npz', 'draws.json', 'figures'):
    assert f'out/{name}' in result.stdout
    assert name in files
  again = command(*arguments)
  said, printed = again.stdout.split('\n\n', 1)
  assert 'finished: nothing is computed' in said
  assert again._replace(stdout=printed) == result


def test_as_a_module(tmp_path):
  """What a shell sees, without the server of `run_command`."""
  process = subprocess.run(
    [sys.executable, '-m', 'egan_jax.main', QUICKSTART, '--workdir=out', 'junk'],
    capture_output=True,
    text=True,
    cwd=tmp_path,
  )
  assert process.returncode == 1
  assert process.stdout == ''
  assert process.stderr == "error: unexpected argument 'junk'\n"
  assert list(tmp_path.iterdir()) == []
