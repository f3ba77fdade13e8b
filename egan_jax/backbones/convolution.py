"""Convolutions with Keras parameters, computed the fastest exact way.

The result is that of `jax.lax.conv_general_dilated`, to float32 rounding; only
the way there depends on the shapes, which are known when tracing. A layer computes
in its kernel's dtype.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from egan_jax.backbones.depthwise import depthwise_convolve
from egan_jax.backbones.windows import (
  padding_of,
  taps_of_a_phase,
  turn_round,
  windows_of,
)


def _lax_convolution(x, kernel, strides, padding):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _vmap_by_kernel(convolution):
  """Lets vmap run a convolution of `x` and a second operand without grouping.

  A kernel shared by all of `x` sees one larger batch. Where each has its own, as
  the folds' trainable layers do, they run one after the other: the grouped
  convolution that vmap would make of them is up to 100 times slower on CPU.
  """
  batchable = jax.custom_batching.custom_vmap(convolution)

  @batchable.def_vmap
  def rule(axis_size, in_batched, x, other):
    x_batched, other_batched = in_batched
    if not other_batched:
      merged = batchable(x.reshape(-1, *x.shape[2:]), other)
      return merged.reshape(axis_size, -1, *merged.shape[1:]), True
    if not x_batched:
      return jax.lax.map(lambda other: batchable(x, other), other), True
    return jax.lax.map(lambda pair: batchable(*pair), (x, other)), True

  return batchable


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spatial_convolution(x, kernel, strides, padding):
  """XLA's convolution, made fast under vmap and scan; the result is the same."""
  return _vmap_by_kernel(
    lambda x, kernel: _lax_convolution(x, kernel, strides, padding)
  )(x, kernel)


def _forward(x, kernel, strides, padding):
  return _spatial_convolution(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, residuals, gradient):
  x, kernel = residuals

  def gradient_of_x(gradient, kernel):
    # In a scan XLA would fold the transposition of a loop-invariant kernel into the
    # convolution's layout, and compute that layout with plain loops: 14 times slower
    # for a 3x3 kernel of DenseNet121 on CPU. The barrier keeps them apart.
    turned = jax.lax.optimization_barrier(_turn_kernel(kernel, strides))

    def phases(gradient):
      y = _lax_convolution(gradient, turned, 1, 'VALID')
      return y.reshape(*y.shape[:3], strides, strides, -1)

    return turn_round(phases, gradient, x.shape, kernel.shape, strides, padding)

  # As one product per tap: XLA's own convolution for it is 60 to 150 times slower
  # inside a loop.
  padded = jnp.pad(
    x, ((0, 0), *padding_of(x.shape, kernel.shape, strides, padding), (0, 0))
  )
  gradient_of_kernel = jnp.stack(
    [
      jnp.einsum('bhwc,bhwf->cf', window, gradient)
      for window in windows_of(padded, kernel.shape[:2], strides)
    ]
  ).reshape(kernel.shape)
  return _vmap_by_kernel(gradient_of_x)(gradient, kernel), gradient_of_kernel


_spatial_convolution.defvjp(_forward, _backward)


def _turn_kernel(kernel, strides):
  """The kernel of the gradient: `[h, w, C, F]` to `[n, m, F, s * s * C]`.

  A stride-1 convolution with it makes all phases of `turn_round` at once.
  """
  rows, columns, channels, features = kernel.shape
  n, m = taps_of_a_phase(kernel.shape, strides)
  edges = ((0, n * strides - rows), (0, m * strides - columns), (0, 0), (0, 0))
  taps = jnp.pad(kernel, edges).reshape(n, strides, m, strides, channels, features)
  return taps[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(n, m, features, -1)


def _small_map_convolution(x, kernel):
  """A stride-1 SAME convolution on a map of a few pixels as one matrix product.

  Every output pixel sees every input pixel through one kernel tap (or none), so
  the layer is a dense operator `[H*W*C, H*W*F]`.
  """
  batch, height, width, channels = x.shape
  rows, columns, _, features = kernel.shape
  pixels = [(y, z) for y in range(height) for z in range(width)]

  def tap(seen, made):
    """What input pixel `seen` adds to output pixel `made`, `[C, F]`."""
    row = seen[0] - made[0] + rows // 2
    column = seen[1] - made[1] + columns // 2
    if 0 <= row < rows and 0 <= column < columns:
      return kernel[row, column]
    return jnp.zeros((channels, features), kernel.dtype)

  operator = jnp.block([[tap(seen, made) for made in pixels] for seen in pixels])
  return (x.reshape(batch, -1) @ operator).reshape(batch, height, width, features)


def convolve(x: jax.Array, kernel: jax.Array, strides: int, padding: str):
  """`[B, H, W, C]` convolved with `[h, w, C, F]`; padding 'SAME' or 'VALID'."""
  height, width = x.shape[1:3]
  if kernel.shape[:2] == (1, 1):
    return x[:, ::strides, ::strides] @ kernel[0, 0]
  odd = kernel.shape[0] % 2 and kernel.shape[1] % 2
  if strides == 1 and padding == 'SAME' and odd and height * width <= 4:
    return _small_map_convolution(x, kernel)
  return _spatial_convolution(x, kernel, strides, padding)


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
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    y = convolve(x.astype(kernel.dtype), kernel, self.strides, self.padding)
    if self.use_bias:
      y += self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
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
    shape = (self.size, self.size, channels, 1)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    x = x.astype(kernel.dtype)
    return depthwise_convolve(x, kernel, self.strides, self.padding)
