"""TensorBoard event files, one scalar per metric and fold, and the mean over folds."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


def open_writer(workdir: str | os.PathLike, first_epoch: int) -> EventsWriter:
  """A writer into `workdir/tensorboard`; the caller closes it.

  TensorBoard hides what an earlier, killed run wrote from `first_epoch` on. Not a
  `SummaryWriter`: its thread dies of a full disk, and whoever writes next waits for it
  for ever.
  """
  folder = Path(workdir) / 'tensorboard'
  folder.mkdir(parents=True, exist_ok=True)
  # A file is named after the second it was opened in, which a resumed run may share.
  writer = EventsWriter(str(folder / 'events'), f'.epoch{first_epoch}')
  _write_event(writer, first_epoch, session_log=SessionLog(status=SessionLog.START))
  return writer


def write_epoch(writer: EventsWriter, records: Sequence[dict]) -> None:
  """Writes one epoch's records, one per fold, and flushes.

  Tags are `f1/fold_0`, ..., `f1/mean`; the step is the epoch. Totals, which never
  change, are left out. The mean is that of the folds given.
  """
  epoch = records[0]['epoch']
  for name in records[0]:
    if name in ('fold', 'epoch') or name.endswith('_total'):
      continue
    for record in records:
      tag = f'{name}/fold_{record["fold"]}'
      _write_event(writer, epoch, summary=scalar(tag, record[name]))
    mean = np.mean([record[name] for record in records])
    _write_event(writer, epoch, summary=scalar(f'{name}/mean', mean))
  writer.flush()


def _write_event(writer: EventsWriter, step: int, **content: object) -> None:
  writer.write_event(Event(step=step, wall_time=time.time(), **content))
