"""The frozen part of a network: from images to boundary activations."""

from typing import Any

import jax
from flax import struct

from egan_jax.backbones import preprocessing
from egan_jax.backbones.graph import LayerGraph

# Generated images of 32 px in a chunk, measured in docs/speed.md: what suits a
# processor's cache; an accelerator's only bounds memory.
_IMAGES_AT_ONCE = 128
_IMAGES_AT_ONCE_ON_ACCELERATOR = 2048


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
    activations = self.graph.apply(self.variables, images)
    return {name: a.astype(images.dtype) for name, a in activations.items()}


def fit_chunk(image_size: int, of_32_px: int = 0) -> int:
  """Images of a side in pixels that go through a trunk at once, at least 1.

  Args:
    image_size: the side.
    of_32_px: how many of 32 px they hold as much as; 0 for what suits the device.
  """
  if not of_32_px:
    on_cpu = jax.default_backend() == 'cpu'
    of_32_px = _IMAGES_AT_ONCE if on_cpu else _IMAGES_AT_ONCE_ON_ACCELERATOR
  return max(1, of_32_px * 32**2 // image_size**2)


def cast_kernels(variables: Any, dtype: str) -> Any:
  """The variables with the convolutions' kernels, and so their products, in `dtype`.

  Batch norms, biases and what crosses the cut keep their precision.
  """

  def cast(path, leaf):
    return leaf.astype(dtype) if path[-1].key == 'kernel' else leaf

  return jax.tree_util.tree_map_with_path(cast, variables)
