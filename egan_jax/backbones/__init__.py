"""The registry of backbones: what exists and how each is to be used."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from egan_jax.backbones import densenet, efficientnet, resnet, small_conv, vgg
from egan_jax.backbones.graph import Layer, LayerGraph
from egan_jax.errors import UserError

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Backbone:
  """A backbone and how it is to be used.

  Attributes:
    name: its name in configs, that of `keras.applications` where there is one.
    layers: its layers in Keras order, without a top.
    preprocessing: what its ImageNet weights expect, a key of
      `preprocessing.IMAGENET_MODES`.
    pooling: 'average' (global) or 'flatten', from feature map to vector.
    from_scratch: whether it has no ImageNet weights and is always trained whole.
    adapt_weights: from variables as a weights file has them, nested dicts of
      arrays, to variables for `layers`.
  """

  name: str
  layers: tuple[Layer, ...]
  preprocessing: str
  pooling: str = 'average'
  from_scratch: bool = False
  adapt_weights: Callable[[Variables], Variables] = lambda variables: variables

  def check_generator(self) -> None:
    """Raises `UserError` if it cannot be the generator, whose steps draw no dropout."""
    if any(layer.op == 'dropout' for layer in self.layers):
      raise UserError(
        f'{self.name} has dropout and cannot be the generator; SmallConvEncoder can'
      )

  def check_discriminator(self) -> None:
    """Raises `UserError` if it cannot be the discriminator, whose last batch is padded."""
    if any(layer.attributes.get('from_scratch') for layer in self.layers):
      raise UserError(
        f'{self.name} normalises by batch and cannot be the discriminator, whose last'
        ' batch is padded; SmallConvDiscriminator can'
      )

  def graph(self) -> LayerGraph:
    """The whole network as one module."""
    return LayerGraph(self.layers, self.layers[-1].name)


_FROM_SCRATCH = {'preprocessing': 'none', 'pooling': 'flatten', 'from_scratch': True}

_REGISTRY: dict[str, tuple[Callable[[], tuple[Layer, ...]], dict[str, Any]]] = {
  'DenseNet121': (densenet.densenet121, {'preprocessing': 'torch'}),
  'VGG16': (vgg.vgg16, {'preprocessing': 'caffe'}),
  'VGG19': (vgg.vgg19, {'preprocessing': 'caffe'}),
  'ResNet101': (resnet.resnet101, {'preprocessing': 'caffe'}),
  'EfficientNetB2': (
    efficientnet.efficientnet_b2,
    {'preprocessing': 'raw', 'adapt_weights': efficientnet.fold_second_rescaling},
  ),
  'EfficientNetLite0': (efficientnet.efficientnet_lite0, {'preprocessing': 'lite'}),
  'EfficientNetLite1': (efficientnet.efficientnet_lite1, {'preprocessing': 'lite'}),
  'EfficientNetLite2': (efficientnet.efficientnet_lite2, {'preprocessing': 'lite'}),
  'SmallConvEncoder': (small_conv.small_conv_encoder, _FROM_SCRATCH),
  'SmallConvDiscriminator': (small_conv.small_conv_discriminator, _FROM_SCRATCH),
}


def names() -> tuple[str, ...]:
  """Names of the backbones that exist."""
  return tuple(_REGISTRY)


@functools.cache
def get(name: str) -> Backbone:
  """The backbone called `name`; `UserError` if there is none."""
  if name not in _REGISTRY:
    raise UserError(f'unknown backbone {name!r}: choose one of {", ".join(_REGISTRY)}')
  builder, usage = _REGISTRY[name]
  return Backbone(name, builder(), **usage)


def create(name: str) -> LayerGraph:
  """A linen module for the backbone called `name`, without its top.

  `module.init(key, images)` and `module.apply(variables, images)` on float32
  images `[B, H, W, 3]`, preprocessed, give the last feature map `[B, h, w, C]`
  before pooling. `params` and `batch_stats` are keyed by Keras layer names.

  Raises:
    UserError: no backbone has this name.
  """
  return get(name).graph()


def features(
  name: str,
  images: np.ndarray,
  weights: str | os.PathLike = 'imagenet',
  image_size: int | None = None,
  preprocess: str = 'imagenet',
  batch_size: int = 64,
) -> np.ndarray:
  """Pooled features float32 `[N, C]` of uint8 images `[N, H, W, 3]`.

  `egan_jax.features.extract` says what each argument means.
  """
  # Here, because nothing else in this package needs weights files.
  from egan_jax import features as whole_backbones

  return whole_backbones.extract(
    name, images, weights, image_size, preprocess, batch_size
  )
