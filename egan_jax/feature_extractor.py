"""Pooled features of one or several frozen backbones, as one pytree."""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import struct
from tqdm import tqdm

from egan_jax import backbones, pretrained
from egan_jax.backbones import graph, preprocessing
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.batches import Images, bound_batch_size, padded_batches
from egan_jax.errors import UserError
from egan_jax.float32_products import in_float32
from egan_jax.models.pooling import pool
from egan_jax.state import load_variables

BATCH_SIZE = 64


@struct.dataclass
class FeatureExtractor:
  """From images to features; passes through jit, vmap and export like an array.

  Attributes:
    trunks: whole backbones with their variables. Each resizes images to its own
      `image_size`, and may give several feature maps, in the order of its layers.
    poolings: of each, 'average' or 'flatten', from feature map to vector.
    mirrored: whether features are the mean of an image's and its mirror image's.
  """

  trunks: tuple[Trunk, ...]
  poolings: tuple[str, ...] = struct.field(pytree_node=False)
  mirrored: bool = struct.field(pytree_node=False, default=False)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Features float32 `[B, sum of C]` of images float `[B, H, W, 3]` in [0, 1].

    Backbone after backbone, and within each feature map after feature map.
    """
    return self.pool(self.maps(images))

  def maps(self, images: jax.Array) -> tuple[jax.Array, ...]:
    """What is pooled: feature maps float32 `[B, h, w, C]` of images as above.

    Those of mirror images are mirrored back before the mean is taken.
    """
    maps = self._run_trunks(images)
    if not self.mirrored:
      return maps
    others = self._run_trunks(images[:, :, ::-1])
    return tuple(
      (one + other[:, :, ::-1]) / 2 for one, other in zip(maps, others, strict=True)
    )

  def pool(self, maps: Sequence[jax.Array]) -> jax.Array:
    """Features of `maps`."""
    poolings = [
      pooling
      for trunk, pooling in zip(self.trunks, self.poolings, strict=True)
      for _ in trunk.graph.output
    ]
    pooled = [pool(*both) for both in zip(maps, poolings, strict=True)]
    return jnp.concatenate(pooled, axis=1)

  def _run_trunks(self, images: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(
      maps[name].astype(jnp.float32)
      for trunk in self.trunks
      for maps in [trunk(images)]
      for name in trunk.graph.output
    )

  @property
  def sizes(self) -> tuple[int, ...]:
    """The number of features of each backbone; their sum is that of `__call__`."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return tuple(
      jax.eval_shape(FeatureExtractor((trunk,), (pooling,)), image).shape[1]
      for trunk, pooling in zip(self.trunks, self.poolings, strict=True)
    )


def split_names(joined: str) -> tuple[str, ...]:
  """The backbones of a text such as 'EfficientNetLite0+EfficientNetLite1'.

  Raises:
    UserError: one of them does not exist, or is there twice.
  """
  names = tuple(joined.split('+'))
  for name in names:
    backbones.get(name)
  if len(set(names)) < len(names):
    raise UserError(f'{joined}: name each backbone once')
  return names


def make(
  names: Sequence[str],
  weights: str | os.PathLike | Sequence[str | os.PathLike],
  image_size: int,
  preprocess: str,
  mirrored: bool = False,
) -> FeatureExtractor:
  """Whole backbones with their weights on the device.

  Args:
    names: of `backbones.names()`.
    weights: 'imagenet', a path, or 'none' for random ones, always the same; one for
      all, or a sequence with one for each.
    image_size: side of the square images the backbones see, in pixels.
    preprocess: 'imagenet' is what a backbone's ImageNet weights expect; 'scale'
      leaves images in [0, 1] as the authors of the paper did.
    mirrored: of `FeatureExtractor`; takes twice the time.

  Raises:
    UserError: no such backbone, weights or preprocessing, or no backbone at all.
  """
  if not names:
    raise UserError('no backbone was given: name at least one')
  if preprocess not in ('imagenet', 'scale'):
    raise UserError(f'preprocess={preprocess!r}: choose one of imagenet, scale')
  chosen = [backbones.get(name) for name in names]
  trunks = tuple(
    _make_trunk(backbone, which, image_size, preprocess)
    for backbone, which in zip(chosen, _one_for_each(weights, names), strict=True)
  )
  poolings = tuple(backbone.pooling for backbone in chosen)
  return FeatureExtractor(trunks, poolings, mirrored)


def _make_trunk(
  backbone: backbones.Backbone,
  weights: str | os.PathLike,
  image_size: int,
  preprocess: str,
) -> Trunk:
  key, load = jax.random.key(0), pretrained.load
  variables = load_variables(backbone, weights, image_size, key, load)
  whole, _ = graph.split(backbone.layers, len(backbone.layers))
  return Trunk(
    variables=jax.device_put(variables),
    graph=whole,
    preprocessing=backbone.preprocessing if preprocess == 'imagenet' else 'none',
    image_size=image_size,
  )


def run(
  extractor: FeatureExtractor, images: Images, batch_size: int = BATCH_SIZE
) -> np.ndarray:
  """Features of any number of images, of which a batch at a time is in memory.

  Args:
    extractor: of C features.
    images: uint8 `[N, H, W, 3]`, an array or its like on disk.
    batch_size: images per batch, or fewer large ones; changes the features by rounding
      only.

  Returns:
    float32 `[N, C]`.
  """
  largest = max(trunk.image_size for trunk in extractor.trunks)
  batch_size = bound_batch_size(min(batch_size, images.shape[0]), largest)
  parts = []
  with tqdm(
    total=images.shape[0], desc='features', unit='image', leave=False, disable=None
  ) as bar:
    for batch, count in padded_batches(images, batch_size):
      parts.append(np.asarray(_run_batch(extractor, batch))[:count])
      bar.update(count)
  return np.concatenate(parts)


@jax.jit
@in_float32
def _run_batch(extractor: FeatureExtractor, images: jax.Array) -> jax.Array:
  return extractor(preprocessing.to_unit_range(images))


def class_directions(
  names: Sequence[str],
  weights: str | os.PathLike | Sequence[str | os.PathLike],
) -> np.ndarray | None:
  """The ImageNet classifier's weights on the features of `make`, less their mean.

  Those of several backbones stand one below the other.

  Args:
    names: as of `make`.
    weights: as of `make`; a path must be to a file with the classifier.

  Returns:
    float32 `[sum of C, 1000]`, or None where one of the backbones brings no
    classifier of one layer on average-pooled features, or it cannot be had; a
    warning says so where there are others.
  """
  kernels = []
  for name, which in zip(names, _one_for_each(weights, names), strict=True):
    try:
      if which == 'none':
        raise UserError(f'{name} has random weights, so no classifier')
      path = None if which == 'imagenet' else which
      kernel, _ = pretrained.load_classifier(name, path)
    except UserError as error:
      if len(names) > 1:
        logging.warning(
          '%s: no ImageNet classifier of the other backbones is used either', error
        )
      return None
    kernels.append(kernel)
  together = np.concatenate(kernels)
  return together - together.mean(axis=1, keepdims=True)


def _one_for_each(
  weights: str | os.PathLike | Sequence[str | os.PathLike], names: Sequence[str]
) -> Sequence[str | os.PathLike]:
  if isinstance(weights, str | os.PathLike):
    return (weights,) * len(names)
  if len(weights) != len(names):
    raise UserError(
      f'there are {len(weights)} weights for {len(names)} backbones: give one for'
      ' all, or one for each'
    )
  return weights
