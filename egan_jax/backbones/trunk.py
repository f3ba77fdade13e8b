"""The frozen part of a network: from images to boundary activations."""

import dataclasses
from typing import Any

import jax
from flax import struct

from egan_jax.backbones import preprocessing
from egan_jax.backbones.graph import LayerGraph

# Generated images of 32 px in a chunk, measured in docs/speed.md: what suits a
# processor's cache; an accelerator's only bounds memory.
_IMAGES_AT_ONCE = 128
_IMAGES_AT_ONCE_ON_ACCELERATOR = 2048
# So many chunks keep what their backward pass needs, with DenseNet121 up to 2 GB. A ReLU
# needs a byte an element, these several floats; and an accelerator's chunks are large.
_KEPT_CHUNKS = 40
_KEPT_LARGE_CHUNKS = 4
_SMOOTH_ACTIVATIONS = {'swish', 'sigmoid'}


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

  # JAX writes out the names of what it compiles, and weights in full would take seconds.
  variables: Any = struct.field(repr=False)
  graph: LayerGraph = struct.field(pytree_node=False)
  preprocessing: str = struct.field(pytree_node=False)
  image_size: int = struct.field(pytree_node=False)

  def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
    """Boundary activations of images `[B, H, W, 3]` in [0, 1], by layer name."""
    images = preprocessing.resize(images, self.image_size)
    images = preprocessing.IMAGENET_MODES[self.preprocessing](images)
    activations = self.graph.apply(self.variables, images)
    return {name: a.astype(images.dtype) for name, a in activations.items()}


@dataclasses.dataclass(frozen=True)
class Chunks:
  """How many generated images at a time a step takes through a trunk.

  Attributes:
    size: more images than this go through in chunks of at most this many.
    kept: of at most so many the backward pass finds in memory what it needs; of more,
      the forward pass is computed a second time.
  """

  size: int
  kept: int

  def share(self, folds: int) -> 'Chunks':
    """What each of several folds that train side by side may take."""
    return Chunks(max(1, self.size // folds), max(1, self.kept // folds))


def fit_chunks(trunk: Trunk, of_32_px: int = 0) -> Chunks:
  """Chunks that suit the device.

  Args:
    trunk: whose images they are.
    of_32_px: a chunk holds as much as so many of 32 px, but at least one image; 0 for
      what suits the device.
  """
  on_cpu = jax.default_backend() == 'cpu'
  if not of_32_px:
    of_32_px = _IMAGES_AT_ONCE if on_cpu else _IMAGES_AT_ONCE_ON_ACCELERATOR
  size = max(1, of_32_px * 32**2 // trunk.image_size**2)
  smooth = any(
    _SMOOTH_ACTIVATIONS & {layer.op, layer.attributes.get('activation')}
    for layer in trunk.graph.layers
  )
  kept_chunks = _KEPT_CHUNKS if on_cpu and not smooth else _KEPT_LARGE_CHUNKS
  return Chunks(size, size * kept_chunks)


def cast_kernels(variables: Any, dtype: str) -> Any:
  """The variables with the convolutions' kernels, and so their products, in `dtype`.

  Batch norms, biases and what crosses the cut keep their precision.
  """

  def cast(path, leaf):
    return leaf.astype(dtype) if path[-1].key == 'kernel' else leaf

  return jax.tree_util.tree_map_with_path(cast, variables)
