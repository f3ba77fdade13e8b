"""Convolutions with Keras parameters, computed the fastest exact way.

The result is that of `jax.lax.conv_general_dilated`, to float32 rounding; only
the way there depends on the shapes, which are known when tracing.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from egan_jax.backbones.depthwise import depthwise_convolve

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def _lax_convolution(x, kernel, strides, padding):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    padding,
    dimension_numbers=_DIMENSIONS,
  )


def _small_map_convolution(x, kernel):
  """A stride-1 SAME convolution on a map of a few pixels as one matrix product.

  Every output pixel sees every input pixel through one kernel tap (or none), so
  the layer is a dense operator `[H*W*C, H*W*F]`.
  """
  batch, height, width, channels = x.shape
  rows, columns, _, features = kernel.shape
  row = np.arange(height)[:, None] - np.arange(height) + (rows - 1) // 2
  column = np.arange(width)[:, None] - np.arange(width) + (columns - 1) // 2
  # taps[y, u, z, v]: the tap through which input (y, z) reaches output (u, v).
  inside_rows = (row >= 0) & (row < rows)
  inside_columns = (column >= 0) & (column < columns)
  inside = inside_rows[:, :, None, None] & inside_columns[None, None]
  taps = kernel[
    np.clip(row, 0, rows - 1)[:, :, None, None],
    np.clip(column, 0, columns - 1)[None, None],
  ]
  taps = jnp.where(inside[..., None, None], taps, 0)
  operator = taps.transpose(0, 2, 4, 1, 3, 5).reshape(
    height * width * channels, height * width * features
  )
  y = x.reshape(batch, -1) @ operator
  return y.reshape(batch, height, width, features)


def convolve(x: jax.Array, kernel: jax.Array, strides: int, padding: str):
  """`[B, H, W, C]` convolved with `[h, w, C, F]`; padding 'SAME' or 'VALID'."""
  height, width = x.shape[1:3]
  if kernel.shape[:2] == (1, 1):
    return x[:, ::strides, ::strides] @ kernel[0, 0]
  odd = kernel.shape[0] % 2 and kernel.shape[1] % 2
  if strides == 1 and padding == 'SAME' and odd and height * width <= 4:
    return _small_map_convolution(x, kernel)
  return _lax_convolution(x, kernel, strides, padding)


class Convolution(nn.Module):
  """Keras `Conv2D`: `kernel` `[size, size, in, features]`, optional `bias`."""

  features: int
  size: int
  strides: int = 1
  padding: str = 'VALID'
  use_bias: bool = False
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, H, W, in]` to `[B, h, w, features]`."""
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    y = convolve(x, kernel, self.strides, self.padding)
    if self.use_bias:
      y += self.param('bias', nn.initializers.zeros, (self.features,))
    return y


class DepthwiseConvolution(nn.Module):
  """Keras `DepthwiseConv2D` with multiplier 1: `kernel` `[size, size, in, 1]`."""

  size: int
  strides: int = 1
  padding: str = 'VALID'
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, H, W, C]` to `[B, h, w, C]`."""
    channels = x.shape[-1]
    kernel = self.param('kernel', self.kernel_init, (self.size, self.size, channels, 1))
    return depthwise_convolve(x, kernel, self.strides, self.padding)
