"""The ImageNet classifier that stood on top of a backbone: one Dense layer.

Its weights tell in which directions of the pooled features classes differ.
"""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from egan_jax import backbones
from egan_jax.errors import UserError
from egan_jax.pretrained import (
  file_format,
  keras_hdf5,
  lite_names,
  published,
  resolve,
  torch_pickle,
)
from egan_jax.pretrained.assign import SavedLayer


def load(
  name: str, path: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """The classifier of a backbone, from average-pooled features to ImageNet logits.

  Args:
    name: a backbone of `egan_jax.backbones`.
    path: a weights file that has the top; without one the published file is found
      or downloaded, see `resolve.find`. For Keras's backbones that is the with-top
      file, another than the backbone's own.

  Returns:
    The kernel float32 `[C, K]` of C features and K classes, 1,000 in the published
    files, and the bias float32 `[K]`.

  Raises:
    UserError: no such backbone; its classifier is no single layer (VGG) or there is
      none; no such file, no download, or a file that has no classifier of C features.
  """
  backbones.get(name)
  if path is None and name not in published.CLASSIFIERS:
    raise UserError(
      f'{name} has no published ImageNet classifier of one layer on pooled features'
    )
  file = resolve.find(name, path, published.CLASSIFIERS)
  if file_format.tell(file) == file_format.TORCH:
    layer = lite_names.classifier(torch_pickle.read(file))
  else:
    layer = _last_dense(keras_hdf5.read(file))
  if layer is None:
    raise UserError(f'{file} has no classifier on top: give a file with it')
  kernel, bias = (np.asarray(weight, np.float32) for weight in layer)
  features = _count_features(name)
  if kernel.shape[0] != features or bias.shape != kernel.shape[1:]:
    raise UserError(
      f'the classifier in {file} has a kernel {list(kernel.shape)} and a bias'
      f' {list(bias.shape)}: {name} has {features} features'
    )
  return kernel, bias


def _last_dense(layers: Sequence[SavedLayer]) -> tuple[np.ndarray, ...] | None:
  """The kernel and bias of the last Dense layer of a Keras file, or None."""
  dense = [layer for layer in layers if [w.ndim for w in layer.weights] == [2, 1]]
  return dense[-1].weights if dense else None


def _count_features(name: str) -> int:
  graph = backbones.get(name).graph()
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  maps, _ = jax.eval_shape(graph.init_with_output, jax.random.key(0), image)
  return maps.shape[-1]
