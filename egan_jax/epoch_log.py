"""The metric records of a run, epoch by epoch: in memory, in a file, in TensorBoard."""

import contextlib
from pathlib import Path

from egan_jax import hosts, run_files, workdir
from egan_jax.reporting import tensorboard


class EpochLog:
  """All hosts know the records; the first one writes them.

  Attributes:
    records: of all folds and epochs so far, as the lines of metrics.jsonl.
  """

  def __init__(self, folder: Path, last_epoch: int):
    """Takes up the log of a run, without what it says of epochs after `last_epoch`.

    Args:
      folder: the workdir.
      last_epoch: that of the checkpoint the run resumes from, 0 for none.

    Raises:
      UserError: the folder cannot be written to; on all hosts.
    """
    self._folder = folder
    self._writer = None
    self.records = hosts.on_first(lambda: self._open(last_epoch))

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    if self._writer:
      with contextlib.suppress(OSError):  # of an epoch that failed already
        self._writer.close()

  def append(self, records: list[dict]) -> None:
    """Adds the records of one epoch; they are on disk when this returns.

    Raises:
      UserError: the folder cannot be written to; on all hosts.
    """
    self.records += records
    hosts.on_first(lambda: self._write(records))

  def _open(self, last_epoch: int) -> list[dict]:
    path = self._folder / workdir.METRICS
    with workdir.explain_errors(self._folder):
      run_files.truncate_records(path, last_epoch)
      self._writer = tensorboard.open_writer(self._folder, last_epoch + 1)
    return run_files.read_records(path)

  def _write(self, records: list[dict]) -> None:
    with workdir.explain_errors(self._folder):
      run_files.append_records(self._folder / workdir.METRICS, records)
      tensorboard.write_epoch(self._writer, records)
