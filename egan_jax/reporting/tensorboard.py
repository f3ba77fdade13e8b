"""TensorBoard event files, one scalar per metric and fold, and the mean over folds."""

import os
from collections.abc import Sequence

import numpy as np
from tensorboardX import SummaryWriter


def open_writer(workdir: str | os.PathLike, first_epoch: int) -> SummaryWriter:
  """A writer into `workdir/tensorboard`; the caller closes it.

  TensorBoard hides what an earlier, killed run wrote from `first_epoch` on.
  """
  logdir = os.path.join(workdir, 'tensorboard')
  return SummaryWriter(
    logdir,
    purge_step=first_epoch,
    # A file is named after the second it was opened in, which a resumed run may share.
    filename_suffix=f'.epoch{first_epoch}',
  )


def write_epoch(writer: SummaryWriter, records: Sequence[dict]) -> None:
  """Writes one epoch's records, one per fold, and flushes.

  Tags are `f1/fold_0`, ..., `f1/mean`; the step is the epoch. Totals, which never
  change, are left out. The mean is that of the folds given.
  """
  for name in records[0]:
    if name in ('fold', 'epoch') or name.endswith('_total'):
      continue
    for record in records:
      writer.add_scalar(f'{name}/fold_{record["fold"]}', record[name], record['epoch'])
    mean = np.mean([record[name] for record in records])
    writer.add_scalar(f'{name}/mean', mean, records[0]['epoch'])
  writer.flush()
