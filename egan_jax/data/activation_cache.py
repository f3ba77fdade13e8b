"""Boundary activations of real images, computed once.

A frozen trunk in inference mode gives the same activations for an image in every
epoch, so training and evaluation read them from here instead of running it. What
exceeds a share of memory is kept on disk, for later runs too.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxlib
import numpy as np
from flax import serialization
from tqdm import tqdm

from egan_jax import pretrained
from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.activation_files import ActivationFiles, Shapes, count_bytes
from egan_jax.data.available_memory import available_memory
from egan_jax.data.batches import Images, bound_batch_size, padded_batches
from egan_jax.errors import UserError
from egan_jax.float32_products import in_float32

# A trunk's own feature maps grow with the pixels of a batch: at 224 px, 128 images
# took 1.7 GB with DenseNet121 and 5.1 GB with VGG16, 32 images 0.5 GB and 1.2 GB, in
# about the same processor time per image.
_MAX_BATCH_SIZE = 128
_MAX_BATCH_PIXELS = 2**21

# The CPU backend reads an array where it is, without a copy, if it starts on a
# multiple of this.
_ALIGNMENT = 64

_run_trunk = jax.jit(in_float32(lambda trunk, images: trunk(to_unit_range(images))))


def compute_boundary_activations(trunk: Trunk, images: Images) -> dict[str, jax.Array]:
  """Runs a trunk over all images, a batch at a time.

  Args:
    trunk: the frozen layers.
    images: uint8 `[N, H, W, 3]`; only a batch at a time is read and reaches the
      device.

  Returns:
    Activations `[N, h, w, c]` by layer name, all in memory.
  """
  return jax.device_put(_compute_in_memory(trunk, images, _shapes(trunk, images)))


class ActivationCache:
  """Boundary activations of one run: in memory as long as they fit, else on disk.

  What fits is computed in every run and never touches the disk. What does not is in
  memory-mapped files, which later runs with the same weights, images, cut and program
  open instead of running the trunk; the kernel keeps as much of them in memory as is
  free. Old files are evicted before the folder takes over a tenth of its disk.
  """

  def __init__(self, folder: Path, memory_share: float):
    """Takes its share of the memory that is available now.

    Args:
      folder: of the files, made when one is needed; see
        `activation_files.default_folder`.
      memory_share: in [0, 1], the share of available memory that all activations
        together may take. 0 puts everything on disk.

    Raises:
      UserError: the share is outside [0, 1].
    """
    if not 0 <= memory_share <= 1:
      raise UserError(f'a memory share of {memory_share} is outside [0, 1]')
    self._files = ActivationFiles(folder)
    self._bytes_left = memory_share * available_memory()

  def compute(self, trunk: Trunk, images: Images) -> dict[str, np.ndarray]:
    """Activations of images; bit for bit those of `compute_boundary_activations`.

    Args:
      trunk: the frozen layers.
      images: uint8 `[N, H, W, 3]`; only a batch at a time is read.

    Returns:
      Read-only arrays `[N, h, w, c]` by layer name. `jax.device_put` copies them to
      an accelerator, and nothing on the CPU: there JAX reads them where they are.

    Raises:
      UserError: the folder cannot be written to, or its disk is full.
    """
    shapes = _shapes(trunk, images)
    size = count_bytes(shapes.values())
    if size <= self._bytes_left:
      self._bytes_left -= size
      return _compute_in_memory(trunk, images, shapes)
    key = make_key(trunk, images)
    return self._files.open_or_write(key, shapes, _compute_batches(trunk, images))


def make_key(trunk: Trunk, images: Images) -> str:
  """SHA-256 (hex) of all that activations depend on.

  That is the images, the trunk's arrays, the program that JAX makes of the trunk
  (and so the layers, the cut, preprocessing, image size and data types), and what
  runs the program.
  """
  digest = hashlib.sha256()
  program = _run_trunk.lower(trunk, _batch_shape(trunk, images)).as_text()
  arrays = pretrained.fingerprint(serialization.to_state_dict(trunk))
  machine = f'{jax.__version__} {jaxlib.__version__} {jax.devices()[0].device_kind}'
  digest.update('\n'.join((machine, arrays, str(images.shape), program)).encode())
  for start in range(0, images.shape[0], _MAX_BATCH_SIZE):
    digest.update(images[start : start + _MAX_BATCH_SIZE].tobytes())
  return digest.hexdigest()


def _batch_shape(trunk: Trunk, images: Images) -> jax.ShapeDtypeStruct:
  batch_size = bound_batch_size(_MAX_BATCH_SIZE, trunk.image_size, _MAX_BATCH_PIXELS)
  return jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), images.dtype)


def _shapes(trunk: Trunk, images: Images) -> Shapes:
  """Shapes of the activations of all images."""
  batch = jax.eval_shape(_run_trunk, trunk, _batch_shape(trunk, images))
  return jax.tree.map(
    lambda a: jax.ShapeDtypeStruct((images.shape[0], *a.shape[1:]), a.dtype), batch
  )


def _compute_batches(trunk: Trunk, images: Images) -> Iterator[dict[str, np.ndarray]]:
  batch_size = _batch_shape(trunk, images).shape[0]
  with tqdm(
    total=images.shape[0], desc='activations', unit='image', leave=False, disable=None
  ) as bar:
    for batch, count in padded_batches(images, batch_size):
      activations = _run_trunk(trunk, batch)
      yield jax.tree.map(lambda a, count=count: np.asarray(a)[:count], activations)
      bar.update(count)


def _compute_in_memory(
  trunk: Trunk, images: Images, shapes: Shapes
) -> dict[str, np.ndarray]:
  arrays = {name: _allocate(shape) for name, shape in shapes.items()}
  start = 0
  for batch in _compute_batches(trunk, images):
    for name, values in batch.items():
      arrays[name][start : start + len(values)] = values
    start += len(values)
  for array in arrays.values():
    array.flags.writeable = False
  return arrays


def _allocate(shape: jax.ShapeDtypeStruct) -> np.ndarray:
  size = count_bytes([shape])
  memory = np.empty(size + _ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % _ALIGNMENT
  return memory[start : start + size].view(shape.dtype).reshape(shape.shape)
