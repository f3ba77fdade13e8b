"""The frozen part of a network: from images to boundary activations."""

from typing import Any

import jax
from flax import struct

from egan_jax.backbones import preprocessing
from egan_jax.backbones.graph import LayerGraph


@struct.dataclass
class Trunk:
  """Resizing, preprocessing and the frozen layers, with their variables.

  A pytree, so it passes through jit, grad and vmap (`in_axes=None`: folds share
  it) like an array.

  Attributes:
    variables: of the frozen layers; without layers, an empty dict.
    graph: the frozen layers, from `graph.split`.
    preprocessing: a key of `preprocessing.IMAGENET_MODES`.
    image_size: side of the square images the backbone sees, in pixels.
  """

  variables: Any
  graph: LayerGraph = struct.field(pytree_node=False)
  preprocessing: str = struct.field(pytree_node=False)
  image_size: int = struct.field(pytree_node=False)

  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Boundary activations of images `[B, H, W, 3]` in [0, 1], by layer name."""
    images = preprocessing.resize(images, self.image_size)
    images = preprocessing.IMAGENET_MODES[self.preprocessing](images)
    return self.graph.apply(self.variables, images)
