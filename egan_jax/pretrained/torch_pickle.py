"""Reads a torch state dict without torch and without running what it says.

The format is torch's before 1.6: four pickles (magic number, version, machine,
state dict), a fifth with the keys of the storages, then each storage as an
int64 count and its raw numbers (`torch/serialization.py`, `_legacy_load`).
"""

import io
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egan_jax.errors import UserError

MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_VERSION = 1001

# Strings, because a pickle can alter classes and functions it gets hold of.
_STORAGES = {
  'HalfStorage': '<f2',
  'FloatStorage': '<f4',
  'DoubleStorage': '<f8',
  'IntStorage': '<i4',
  'LongStorage': '<i8',
}


class _Tensor(NamedTuple):
  storage: str
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
  """Builds dicts and descriptions of tensors; refuses every other name."""

  def __init__(self, file: io.BytesIO):
    super().__init__(file)
    self.storages: dict[str, tuple[str, int]] = {}

  def find_class(self, module: str, name: str) -> Any:
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return lambda *fields: _Tensor(*fields[:4])
    if (module, name) == ('collections', 'OrderedDict'):
      return OrderedDict
    raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is no tensor')

  def persistent_load(self, pid: Any) -> str:
    _, dtype, key, _, count, view = pid
    if view is not None:
      raise pickle.UnpicklingError('it shares storage in a way no longer in use')
    self.storages[key] = (dtype, count)
    return key


def read(path: Path) -> dict[str, np.ndarray]:
  """The state dict: torch's names and layouts, in the file's order.

  Raises:
    UserError: the file is damaged, or wants more than tensors.
  """
  try:
    return _read(path.read_bytes())
  # A damaged pickle can raise anything, as the pickle module warns.
  except Exception as error:
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise UserError(f'{path} is damaged or no torch state dict: {reason}') from error


def _read(data: bytes) -> dict[str, np.ndarray]:
  file = io.BytesIO(data)
  file.seek(len(MAGIC))
  version, machine = (_Unpickler(file).load() for _ in range(2))
  if version != _VERSION or not machine['little_endian']:
    raise ValueError('unknown version or byte order')
  unpickler = _Unpickler(file)
  state = unpickler.load()
  storages = {}
  for key in _Unpickler(file).load():
    dtype, count = unpickler.storages[key]
    if count < 0 or int.from_bytes(file.read(8), 'little') != count:
      raise ValueError('a tensor is not as long as announced')
    storages[key] = np.frombuffer(data, dtype, count, file.tell())
    file.seek(storages[key].nbytes, io.SEEK_CUR)
  return {str(name): _array(tensor, storages) for name, tensor in state.items()}


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
  storage = storages[tensor.storage]
  size, stride, offset = tensor.size, tensor.stride, tensor.offset
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  inside = last < storage.size and math.prod(size) <= storage.size
  if not inside or min((offset, *stride)) < 0 or min(size, default=1) < 1:
    raise ValueError('a tensor reaches beyond its storage')
  strides = [s * storage.itemsize for s in stride]
  return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()
