"""Boundary activations of real images, computed once.

A frozen trunk in inference mode gives the same activations for an image in every
epoch, so training and evaluation read them from here instead of running it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.backbones.trunk import Trunk

_BATCH_SIZE = 128

_run_trunk = jax.jit(lambda trunk, images: trunk(to_unit_range(images)))


def compute_boundary_activations(
  trunk: Trunk, images: np.ndarray
) -> dict[str, jax.Array]:
  """Runs a trunk over all images, a batch at a time.

  Args:
    trunk: the frozen layers.
    images: uint8 `[N, H, W, 3]`; only a batch at a time reaches the device.

  Returns:
    Activations `[N, h, w, c]` by layer name.
  """
  batches = []
  starts = range(0, len(images), _BATCH_SIZE)
  for start in tqdm(starts, desc='activations', leave=False, disable=None):
    batch = images[start : start + _BATCH_SIZE]
    # Padded to one shape, so that the trunk compiles once.
    missing = _BATCH_SIZE - len(batch)
    padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
    activations = _run_trunk(trunk, padded)
    batches.append(jax.tree.map(np.asarray, activations))
  return jax.tree.map(
    lambda *parts: jnp.asarray(np.concatenate(parts)[: len(images)]), *batches
  )
