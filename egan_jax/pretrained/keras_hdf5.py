"""Reads the two kinds of HDF5 file that hold Keras weights."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from egan_jax.errors import UserError
from egan_jax.pretrained.assign import SavedLayer

MAGIC = b'\x89HDF\r\n\x1a\n'

# The last word of a weight's name, of any age, and the leaf it is for.
_LEAVES = {
  'kernel': 'kernel',
  'W': 'kernel',
  'bias': 'bias',
  'b': 'bias',
  'gamma': 'scale',
  'beta': 'bias',
  'mean': 'mean',
  'variance': 'var',
  'count': 'count',
}
_NORMALIZATION = ['mean', 'var', 'count']


def read(path: Path) -> list[SavedLayer]:
  """The layers that have weights, in the order that counts when loading.

  Raises:
    UserError: the file is damaged or holds no Keras weights.
  """
  try:
    with h5py.File(path) as file:
      legacy = file.get('model_weights', file)
      if _names(legacy, 'layer_names'):
        return _read_legacy(legacy)
      if 'layers' in file:
        return _read_keras3(file['layers'])
  # What h5py raises depends on where the damage is.
  except (
    AttributeError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
  ) as error:
    reason = ' '.join(str(error).split())
    raise UserError(f'{path} is damaged and cannot be read: {reason}') from error
  raise UserError(f'{path} is an HDF5 file, but not one of Keras weights')


def _names(group: h5py.Group, attribute: str) -> list[str]:
  """A list of names; Keras splits a long one over `attribute0`, `attribute1`..."""
  chunks = [attribute]
  if attribute not in group.attrs:
    numbered = (f'{attribute}{number}' for number in itertools.count())
    chunks = itertools.takewhile(group.attrs.__contains__, numbered)
  names = [name for chunk in chunks for name in group.attrs[chunk]]
  return [name.decode() if isinstance(name, bytes) else name for name in names]


def _read_legacy(group: h5py.Group) -> list[SavedLayer]:
  """Keras 1 and 2's format: names in attributes, in layer order."""
  layers = []
  for name in _names(group, 'layer_names'):
    weights, leaves = [], []
    for weight_name in _names(group[name], 'weight_names'):
      weights.append(group[name][weight_name][()])
      leaves.append(_LEAVES.get(_last_word(weight_name), ''))
    if leaves[:2] == _NORMALIZATION[:2]:
      weights, leaves = _with_count(weights), _NORMALIZATION
    if weights:
      layers.append(SavedLayer(name, tuple(weights), tuple(leaves)))
  return layers


def _last_word(weight_name: str) -> str:
  """'gamma' of 'conv1/bn/gamma:0', 'W' of 'block1_conv1_W_1:0'."""
  name = weight_name.split('/')[-1].split(':')[0]
  return re.sub(r'_\d+$', '', name).split('_')[-1]


def _read_keras3(group: h5py.Group) -> list[SavedLayer]:
  """Keras 3's `.weights.h5`: groups `conv2d`, `conv2d_1`... counted per class.

  `keras/src/saving/saving_lib.py`. Later versions also note the layer's name.
  """
  layers = []
  for key in sorted(group, key=_class_and_number):
    variables = group[key].get('vars', {})
    weights = [variables[index][()] for index in sorted(variables, key=int)]
    kind, _ = _class_and_number(key)
    if weights and kind == 'normalization':
      weights = _with_count(weights)
    if weights:
      name = variables.attrs.get('name', key)
      layers.append(SavedLayer(name, tuple(weights), ('',) * len(weights), kind))
  return layers


def _with_count(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
  """A `Normalization`'s weights, the count of what it saw as a float.

  Nothing reads the count, so 0 will do for a file that has none.
  """
  count = weights[2:] or [0]
  return [*weights[:2], *(np.asarray(number, np.float32) for number in count)]


def _class_and_number(key: str) -> tuple[str, int]:
  kind, number = re.fullmatch(r'(.*?)(?:_(\d+))?', key).groups()
  return kind, int(number or 0)
