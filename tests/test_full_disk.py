"""A run whose workdir cannot be written to any more: one line, and it can go on."""

import errno
import os
import shutil

import pytest

from egan_jax import checkpoints, run_files, train
from egan_jax.errors import UserError
from egan_jax.reporting import report
from tests.comparing import assert_identical
from tests.small_runs import make_config, read_scores

pytestmark = pytest.mark.usefixtures('tiny_registered', 'without_figures')

CONFIG = dict(num_epochs=2, num_folds=1, checkpoint_every=1)


@pytest.fixture(scope='module')
def finished(tiny_registered, tmp_path_factory):
  """The workdir of a run that nothing was in the way of."""
  folder = tmp_path_factory.mktemp('finished')
  train.train_and_evaluate(make_config(**CONFIG), folder)
  return folder


def _fill(*_, **__):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fail_as_tensorstore(*_, **__):
  raise ValueError('OUT_OF_RANGE: Error writing\n"x": No space left on device')


@pytest.mark.parametrize(
  ('place', 'name', 'fail'),
  [
    (run_files, 'append_records', _fill),
    (shutil, 'disk_usage', lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0)),
    (checkpoints._CheckpointManager, 'close', _fail_as_tensorstore),
    (report, 'write_scores', _fill),
  ],
)
def test_full_disk(place, name, fail, finished, tmp_path, monkeypatch):
  folder = tmp_path / 'run'
  with monkeypatch.context() as full:
    full.setattr(place, name, fail)
    with pytest.raises(UserError, match='No space left on device') as caught:
      train.train_and_evaluate(make_config(**CONFIG), folder)
  assert '\n' not in str(caught.value)
  assert str(folder) in str(caught.value)
  assert not (folder / 'summary.json').exists()
  train.train_and_evaluate(make_config(**CONFIG), folder)
  assert_identical(read_scores(folder), read_scores(finished))
  records = (path / 'metrics.jsonl' for path in (folder, finished))
  assert len({path.read_bytes() for path in records}) == 1
