"""Which of the formats that are read here a weights file has, by its content."""

from pathlib import Path

from egan_jax.errors import UserError
from egan_jax.pretrained import keras_hdf5, torch_pickle

KERAS = 'keras'
TORCH = 'torch'


def tell(path: Path) -> str:
  """`KERAS` or `TORCH`.

  Raises:
    UserError: it is neither, or cannot be read.
  """
  try:
    with path.open('rb') as file:
      start = file.read(len(torch_pickle.MAGIC))
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  if start.startswith(keras_hdf5.MAGIC):
    return KERAS
  if start == torch_pickle.MAGIC:
    return TORCH
  raise UserError(
    f'{path} is no weights file: neither Keras HDF5 (.h5, .weights.h5) nor torch '
    'before its zip format (.pth)'
  )
