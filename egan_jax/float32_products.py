"""Products of float32 numbers in float32, whatever the device.

Left to itself JAX lets an accelerator multiply them with fewer bits: TF32 on NVIDIA's,
bfloat16 on a TPU. A training step may; what decisions rest on, the features, boundary
activations and scores of real images, must not depend on where it is computed.
"""

import functools
from collections.abc import Callable

import jax


def in_float32(function: Callable) -> Callable:
  """A function whose products, traced in it or computed, are of full float32.

  Those of bfloat16 numbers stay what they are.
  """

  @functools.wraps(function)
  def run(*arguments, **options):
    with jax.default_matmul_precision('float32'):
      return function(*arguments, **options)

  return run
