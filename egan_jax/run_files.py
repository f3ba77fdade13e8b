"""The files of a workdir, written so that a kill at any moment leaves them whole.

JSON has no NaN or infinity: both are written as null. Arrays and scalars of NumPy
and JAX are written as plain lists and numbers.
"""

import contextlib
import fcntl
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from egan_jax.errors import UserError


def check_output(
  output: str | os.PathLike, inputs: Iterable[str | os.PathLike]
) -> None:
  """Raises `UserError` if what is to be written is a folder, or read for it."""
  _check_file(output)
  if os.path.exists(output):
    place = os.path.realpath(output)
    if any(os.path.realpath(path) == place for path in inputs):
      raise UserError(f'{output} is one of the files to read: give another to write')


def _check_file(output: str | os.PathLike) -> None:
  if os.path.isdir(output):
    raise UserError(f'{output} is a folder: give the file to write')
  if os.fspath(output) == '-':
    raise UserError('- is no file: give one, or /dev/stdout for the standard output')


def is_standard_output(path: str | os.PathLike) -> bool:
  """Whether a path names the standard output, which then is to hold nothing else."""
  return _find_descriptor(path) == 1


def _find_descriptor(path: str | os.PathLike) -> int | None:
  """The number of the open file that a path names."""
  names = r'/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)'
  found = re.fullmatch(names, os.fspath(path))
  if not found:
    return None
  return {'stdout': 1, 'stderr': 2}.get(found[1]) or int(found[2])


@contextlib.contextmanager
def open_output(
  path: str | os.PathLike, mode: str = 'wb', **options: Any
) -> Iterator[IO]:
  """A file that a user asked for, whole or not at all; arguments as of `open`.

  A pipe or a device is written to as it is, what is open already (/dev/stdout, /dev/fd/3)
  from where it stands, and a link leads to what is replaced.

  Raises:
    UserError: it cannot be written.
  """
  _check_file(path)
  descriptor = _find_descriptor(path)
  place, open_place = Path(os.path.realpath(path)), _open_whole
  if os.path.exists(path) and not os.path.isfile(path):
    place, open_place = path, open
  try:
    if descriptor is not None:
      place, open_place = os.dup(descriptor), open
    with open_place(place, mode, **options) as file:
      yield file
  except OSError as error:
    raise UserError(f'cannot write {path}: {error.strerror}') from error


@contextlib.contextmanager
def _open_whole(path: Path, mode: str, **options: Any) -> Iterator[IO]:
  """A temporary file that takes its place when it is complete, or leaves no trace.

  Makes the folder it goes into. An `OSError` leaves an older file as it was.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    with open(temporary, mode, **options) as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)


def list_names(folder: str | os.PathLike) -> set[str]:
  """Of what is in a folder, but for what a kill left of a file being written."""
  return {
    name
    for name in os.listdir(folder)
    if not (name.startswith('.') and name.endswith('.tmp'))
  }


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
  """Writes a whole file or nothing, and makes the folder it goes into."""
  with _open_whole(Path(path), 'wb') as file:
    file.write(data)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes UTF-8, whole or not at all; what is not, as in names of files, as '\\udc..'."""
  write_bytes(path, text.encode(errors='backslashreplace'))


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes `value` as JSON, keys sorted, indented by 2, whole or not at all."""
  write_text(path, _encode(value))


def holds(path: str | os.PathLike, value: Any) -> bool:
  """Whether a file is what `write_json` would write."""
  path = Path(path)
  return path.exists() and path.read_text() == _encode(value)


def _encode(value: Any) -> str:
  plain = _to_plain(value)
  return json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + '\n'


def read_json(path: str | os.PathLike) -> Any:
  """What `write_json` wrote.

  Raises:
    UserError: the file cannot be read, or is no JSON.
  """
  try:
    return json.loads(Path(path).read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{path} is damaged ({error}): use another workdir') from error


def try_lock(file: IO | int) -> bool:
  """Locks an open file or folder against other processes, until it is closed.

  Returns:
    False if one of them has locked it.

  Raises:
    OSError: the file system has no locks for it.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  return True


def append_records(path: str | os.PathLike, records: Iterable[dict]) -> None:
  """Appends metric records, one JSON line each, on disk when this returns."""
  with open(path, 'ab') as file:
    file.write(_encode_records(records))
    file.flush()
    os.fsync(file.fileno())


def read_records(path: str | os.PathLike) -> list[dict]:
  """The metric records in a file; none if there is no file.

  A last line that a killed run left unfinished is passed over.

  Raises:
    ValueError: a finished line is not JSON.
  """
  path = Path(path)
  if not path.exists():
    return []
  *lines, unfinished = path.read_bytes().split(b'\n')
  records = []
  for number, line in enumerate(lines, start=1):
    try:
      records.append(json.loads(line))
    except ValueError as error:
      raise ValueError(f'{path} line {number} is not JSON: {error}') from error
  try:
    return [*records, json.loads(unfinished)]
  except ValueError:
    return records


def truncate_records(path: str | os.PathLike, last_epoch: int) -> None:
  """Keeps the records of epochs up to `last_epoch`, in place, whole or not at all.

  A run calls it before its first epoch, with the epoch of its checkpoint (0 for
  none), so that no epoch is there twice and no unfinished line is built upon.
  """
  kept = [record for record in read_records(path) if record['epoch'] <= last_epoch]
  write_bytes(path, _encode_records(kept))


def _encode_records(records: Iterable[dict]) -> bytes:
  lines = (json.dumps(_to_plain(record), allow_nan=False) for record in records)
  return ''.join(line + '\n' for line in lines).encode()


def _to_plain(value: Any) -> Any:
  """The value with arrays as lists and non-finite numbers as None."""
  if hasattr(value, 'tolist'):
    value = value.tolist()
  if isinstance(value, dict):
    return {key: _to_plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_to_plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
