"""TensorBoard events, read back from the file format itself."""

import resource
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from egan_jax.reporting import tensorboard


def read_events(path):
  """Events of one file: length, checksum, bytes, checksum (TFRecord)."""
  data, start, events = path.read_bytes(), 0, []
  while start < len(data):
    (length,) = struct.unpack_from('<Q', data, start)
    events.append(Event.FromString(data[start + 12 : start + 12 + length]))
    start += 16 + length
  return events


def write_run(workdir, epochs):
  writer = tensorboard.open_writer(workdir, epochs[0])
  for epoch in epochs:
    records = [
      {'fold': fold, 'epoch': epoch, 'minority_total': 9, 'f1': 0.25 * (epoch + fold)}
      for fold in range(2)
    ]
    tensorboard.write_epoch(writer, records)
  writer.close()


def test_scalars_per_fold_and_their_mean(tmp_path):
  write_run(tmp_path, [1, 2])
  (path,) = (tmp_path / 'tensorboard').iterdir()
  scalars = {
    (value.tag, event.step): value.simple_value
    for event in read_events(path)
    for value in event.summary.value
  }
  assert scalars == pytest.approx(
    {
      ('f1/fold_0', 1): 0.25,
      ('f1/fold_1', 1): 0.5,
      ('f1/mean', 1): 0.375,
      ('f1/fold_0', 2): 0.5,
      ('f1/fold_1', 2): 0.75,
      ('f1/mean', 2): 0.625,
    }
  )


def test_a_resumed_run_hides_what_it_repeats(tmp_path):
  write_run(tmp_path, [1, 2, 3])
  write_run(tmp_path, [3, 4])
  starts = [
    event.step
    for path in (tmp_path / 'tensorboard').iterdir()
    for event in read_events(path)
    if event.session_log.status == SessionLog.START
  ]
  assert sorted(starts) == [1, 3]


def test_a_full_disk_is_an_error_and_no_wait_for_ever(tmp_path):
  """Of an epoch larger than what is kept in memory before it is written."""
  writer = tensorboard.open_writer(tmp_path, 1)
  record = {'epoch': 1, **{f'metric_{number}': 0.5 for number in range(100)}}
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, hard))
  try:
    with pytest.raises(OSError, match='too large'):
      tensorboard.write_epoch(writer, [{**record, 'fold': fold} for fold in range(5)])
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
