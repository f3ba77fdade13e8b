"""Keras's `Conv2DTranspose` with stride 2 as one matrix product.

The convolution of XLA would turn into a grouped one under vmap over folds, whose
gradients are an order of magnitude slower on CPU; a matrix product stays one.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class TransposedConvolution(nn.Module):
  """Kernel 3x3, stride 2, SAME: `[B, H, W, C]` to `[B, 2H, 2W, features]`.

  The gradient of a SAME convolution, as in Keras: input pixel i adds its product
  with tap k to output pixel 2i + k, and what falls off the end is dropped.
  Parameters `kernel` `[3, 3, features, C]` and `bias`, laid out as in Keras.
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, H, W, C]` to `[B, 2H, 2W, features]`."""
    shape = (3, 3, self.features, x.shape[-1])
    kernel = self.param('kernel', nn.initializers.glorot_uniform(), shape)
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    taps = jnp.einsum('bijc,klfc->bikjlf', x, kernel)
    # Taps 0 and 2 of neighbours meet on the even rows, tap 1 makes the odd ones.
    rows = _interleave(taps[:, :, 0] + _shift(taps[:, :, 2], 1), taps[:, :, 1], 1)
    # [B, 2H, W, 3, F], now the same along the columns.
    columns = _interleave(
      rows[:, :, :, 0] + _shift(rows[:, :, :, 2], 2), rows[:, :, :, 1], 2
    )
    return columns + bias


def _shift(x: jax.Array, axis: int) -> jax.Array:
  """Moves everything one place up along an axis; a zero comes in at 0."""
  padding = [(0, 0)] * x.ndim
  padding[axis] = (1, 0)
  return jax.lax.slice_in_dim(jnp.pad(x, padding), 0, x.shape[axis], axis=axis)


def _interleave(even: jax.Array, odd: jax.Array, axis: int) -> jax.Array:
  stacked = jnp.stack([even, odd], axis + 1)
  shape = [*even.shape]
  shape[axis] *= 2
  return stacked.reshape(shape)
