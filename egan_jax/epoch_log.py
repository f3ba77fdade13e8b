"""The metric records of a run, epoch by epoch: in memory, in a file, in TensorBoard."""

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
    """
    self._path = folder / workdir.METRICS
    self.records = hosts.on_first(lambda: _cut(self._path, last_epoch))
    self._writer = None
    if hosts.is_first():
      self._writer = tensorboard.open_writer(folder, last_epoch + 1)

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    if self._writer:
      self._writer.close()

  def append(self, records: list[dict]) -> None:
    """Adds the records of one epoch; they are on disk when this returns."""
    self.records += records
    if self._writer:
      run_files.append_records(self._path, records)
      tensorboard.write_epoch(self._writer, records)


def _cut(path: Path, last_epoch: int) -> list[dict]:
  run_files.truncate_records(path, last_epoch)
  return run_files.read_records(path)
