"""The registry of backbones: what exists and how each is to be used."""

import dataclasses
import functools
from collections.abc import Callable

from egan_jax.backbones import densenet
from egan_jax.backbones.graph import Layer, LayerGraph
from egan_jax.errors import UserError


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
  """

  name: str
  layers: tuple[Layer, ...]
  preprocessing: str
  pooling: str = 'average'
  from_scratch: bool = False

  def graph(self) -> LayerGraph:
    """The whole network as one module."""
    return LayerGraph(self.layers, self.layers[-1].name)


_REGISTRY: dict[str, Callable[[], Backbone]] = {
  'DenseNet121': lambda: Backbone(
    'DenseNet121', densenet.densenet121(), preprocessing='torch'
  ),
}


def names() -> tuple[str, ...]:
  """Names of the backbones that exist."""
  return tuple(_REGISTRY)


@functools.cache
def get(name: str) -> Backbone:
  """The backbone called `name`; `UserError` if there is none."""
  if name not in _REGISTRY:
    raise UserError(f'unknown backbone {name!r}: choose one of {", ".join(_REGISTRY)}')
  return _REGISTRY[name]()


def create(name: str) -> LayerGraph:
  """A linen module for the backbone called `name`, without its top.

  `module.init(key, images)` and `module.apply(variables, images)` on float32
  images `[B, H, W, 3]`, preprocessed, give the last feature map `[B, h, w, C]`
  before pooling. `params` and `batch_stats` are keyed by Keras layer names.

  Raises:
    UserError: no backbone has this name.
  """
  return get(name).graph()
