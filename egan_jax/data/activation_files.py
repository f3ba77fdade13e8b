"""Activations in memory-mapped files, shared by runs.

A folder holds `KEY.TENSOR.npy` files. A writer has the lock of its key, writes to
`KEY.TENSOR.tmp`, and renames when everything is on disk: a file under its final name
is whole, whenever a writer dies. Who wants what another process is writing waits for
it. The kernel drops the lock of a process that dies, which tells its leftovers from
the files of a living one.

Files that are mapped stay readable after their name is gone, so evicting or replacing
one disturbs nobody.
"""

import contextlib
import fcntl
import io
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import pooch
from absl import logging

from egan_jax import run_files
from egan_jax.errors import UserError

FOLDER_VARIABLE = 'EGAN_ACTIVATIONS_DIR'

# Of the disk that the folder is on; the least recently used files go first.
_DISK_SHARE = 0.1

Shapes = Mapping[str, jax.ShapeDtypeStruct]


def default_folder() -> Path:
  """`$EGAN_ACTIVATIONS_DIR`, or a folder in the user's cache if that is unset."""
  return Path(
    os.environ.get(FOLDER_VARIABLE) or pooch.os_cache('egan_jax') / 'activations'
  ).expanduser()


def count_bytes(shapes: Iterable[jax.ShapeDtypeStruct]) -> int:
  """What arrays of these shapes take."""
  return sum(math.prod(shape.shape) * shape.dtype.itemsize for shape in shapes)


class ActivationFiles:
  """The files in a folder; those that one object opened it does not evict."""

  def __init__(self, folder: Path):
    self._folder = folder
    self._in_use: set[Path] = set()

  def open_or_write(
    self, key: str, shapes: Shapes, batches: Iterable[Mapping[str, np.ndarray]]
  ) -> dict[str, np.ndarray]:
    """Maps finished files, and writes them first if there are none.

    Args:
      key: a hash of all that the values depend on.
      shapes: of the arrays, by name.
      batches: rows of each array in order; only consumed to write.

    Returns:
      Read-only arrays by name, mapped; their data start on a multiple of 64 bytes.

    Raises:
      UserError: the folder cannot be written to, or its disk is full.
    """
    paths = {name: self._folder / f'{key}.{name}.npy' for name in shapes}
    with contextlib.ExitStack() as stack:
      with self._explain_errors():
        stack.enter_context(self._lock(key))
        arrays = _open(paths, shapes)
        if arrays is None:
          self._remove_leftovers()
          self._make_room(count_bytes(shapes.values()))
          writer = stack.enter_context(_Writer(paths, shapes))
      if arrays is None:
        for batch in batches:
          with self._explain_errors():
            writer.append(batch)
        with self._explain_errors():
          arrays = writer.finish()
    self._in_use.update(paths.values())
    return arrays

  @contextlib.contextmanager
  def _lock(self, key: str) -> Iterator[None]:
    self._folder.mkdir(parents=True, exist_ok=True)
    with open(self._lock_path(key), 'ab') as file:
      if not run_files.try_lock(file):
        logging.warning('another process computes these activations: waiting for it')
        fcntl.flock(file, fcntl.LOCK_EX)
      yield

  def _lock_path(self, key: str) -> Path:
    # Keys share locks, which are never deleted, for that could not be done safely.
    return self._folder / f'{key[:2]}.lock'

  def _remove_leftovers(self) -> None:
    """Deletes what writers left that died; who can take their lock knows it."""
    for path in self._folder.glob('*.tmp'):
      with open(self._lock_path(path.name), 'ab') as file:
        if run_files.try_lock(file):
          path.unlink(missing_ok=True)

  def _make_room(self, needed: int) -> None:
    """Evicts files until `needed` bytes more are within the share and on the disk."""
    disk = shutil.disk_usage(self._folder)
    files = self._by_last_use()
    old = [file for file in files if file[1] not in self._in_use]
    if needed > disk.free + sum(size for _, _, size in old):
      raise UserError(
        f'{needed / 1e9:.1f} GB of activations do not fit on the disk of'
        f' {self._folder}, which has {disk.free / 1e9:.1f} GB left: free some, set'
        f' {FOLDER_VARIABLE} to a folder on another disk, or give activations a larger'
        ' share of memory'
      )
    held, free = sum(size for _, _, size in files), disk.free
    for _, path, size in old:
      if held + needed <= _DISK_SHARE * disk.total and needed <= free:
        break
      path.unlink(missing_ok=True)
      held, free = held - size, free + size

  def _by_last_use(self) -> list[tuple[int, Path, int]]:
    found = []
    for path in self._folder.glob('*.npy'):
      with contextlib.suppress(FileNotFoundError):  # another process evicted it
        status = path.stat()
        found.append((status.st_mtime_ns, path, status.st_size))
    return sorted(found)

  @contextlib.contextmanager
  def _explain_errors(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise UserError(
        f'activations cannot be kept in {self._folder} ({error.strerror or error}):'
        f' mend that, set {FOLDER_VARIABLE} to another folder, or give activations a'
        ' larger share of memory'
      ) from error


def _open(paths: Mapping[str, Path], shapes: Shapes) -> dict[str, np.ndarray] | None:
  """Maps the files and marks them as used; None if one is missing or damaged."""
  arrays = {}
  for name, path in paths.items():
    try:
      arrays[name] = _map(path, shapes[name])
    except FileNotFoundError:
      return None
    except ValueError as error:
      logging.warning('%s: it is made again', error)
      return None
  for path in paths.values():
    with contextlib.suppress(FileNotFoundError):  # another process evicted it
      os.utime(path)
  return arrays


def _map(path: Path, shape: jax.ShapeDtypeStruct) -> np.ndarray:
  """Maps an .npy file read-only.

  Raises:
    ValueError: it is damaged or holds something else.
    OSError: it cannot be read.
  """
  header = _make_header(shape)
  with open(path, 'rb') as file:
    found = file.read(len(header))
    size = os.fstat(file.fileno()).st_size
    if found != header or size != len(header) + count_bytes([shape]):
      raise ValueError(f'{path} holds something else than {shape}')
    return np.asarray(
      np.memmap(file, shape.dtype, mode='r', offset=len(header), shape=shape.shape)
    )


class _Writer:
  """Temporary files that get their final names when they are whole, or vanish."""

  def __init__(self, paths: Mapping[str, Path], shapes: Shapes):
    self._paths = paths
    self._shapes = shapes
    self._temporary = {name: path.with_suffix('.tmp') for name, path in paths.items()}
    self._files: dict[str, io.FileIO] = {}

  def __enter__(self) -> '_Writer':
    with contextlib.ExitStack() as stack:
      for name, path in self._temporary.items():
        stack.callback(path.unlink, missing_ok=True)
        # Unbuffered: nothing is left for closing, where a full disk would show again.
        file = stack.enter_context(open(path, 'wb', buffering=0))
        _write(file, _make_header(self._shapes[name]))
        self._files[name] = file
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *exception):
    self._stack.close()

  def append(self, rows: Mapping[str, np.ndarray]) -> None:
    for name, values in rows.items():
      _write(self._files[name], values.tobytes())

  def finish(self) -> dict[str, np.ndarray]:
    """Renames the files; returns what is in them, mapped."""
    for file in self._files.values():
      os.fsync(file.fileno())
    # Mapped first: as soon as a file has its name, another process may evict it.
    arrays = {
      name: _map(self._temporary[name], self._shapes[name]) for name in self._paths
    }
    for name, path in self._paths.items():
      os.replace(self._temporary[name], path)
    return arrays


def _write(file: io.FileIO, data: bytes) -> None:
  remaining = memoryview(data)
  while remaining:  # the kernel takes 2 GB at most at a time
    remaining = remaining[file.write(remaining) :]


def _make_header(shape: jax.ShapeDtypeStruct) -> bytes:
  """An .npy header, which NumPy pads to a multiple of 64 bytes."""
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header,
    {
      'descr': np.lib.format.dtype_to_descr(shape.dtype),
      'fortran_order': False,
      'shape': shape.shape,
    },
  )
  return header.getvalue()
