import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.backbones import convolution

CASES = [
  # map, kernel, strides, padding
  ((7, 7), (1, 1), 1, 'VALID'),
  ((7, 7), (1, 1), 1, 'SAME'),
  ((7, 7), (1, 1), 2, 'VALID'),
  ((8, 6), (1, 1), 2, 'SAME'),
  ((1, 1), (3, 3), 1, 'SAME'),
  ((2, 2), (3, 3), 1, 'SAME'),
  ((1, 1), (5, 5), 1, 'SAME'),
  ((2, 2), (5, 5), 1, 'SAME'),
  ((1, 3), (3, 3), 1, 'SAME'),
  ((4, 1), (3, 5), 1, 'SAME'),
  ((2, 2), (2, 2), 1, 'SAME'),
  ((2, 2), (3, 3), 2, 'SAME'),
  ((3, 3), (3, 3), 1, 'SAME'),
  ((8, 8), (3, 3), 2, 'SAME'),
  ((9, 9), (7, 7), 2, 'VALID'),
]


def _random(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def _check(function, reference, *arrays):
  """Both give the same values and the same gradients."""

  def run(f):
    # A loss with a different weight for each output.
    def loss(*arrays):
      y = f(*arrays)
      return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))), y

    argnums = tuple(range(len(arrays)))
    differentiate = jax.jit(jax.value_and_grad(loss, argnums, has_aux=True))
    (_, y), gradients = differentiate(*arrays)
    return (y, *gradients)

  for ours, theirs in zip(run(function), run(reference), strict=True):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize('size, kernel, strides, padding', CASES)
def test_convolve_is_lax_convolution(size, kernel, strides, padding):
  x, w = _random((2, *size, 5), (*kernel, 5, 6))
  _check(
    lambda x, w: convolution.convolve(x, w, strides, padding),
    lambda x, w: jax.lax.conv_general_dilated(
      x, w, (strides, strides), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    ),
    x,
    w,
  )


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (3, 3), (8, 8), (9, 7)])
@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize(
  'strides, padding', [(1, 'SAME'), (2, 'SAME'), (2, 'VALID'), (4, 'SAME')]
)
def test_depthwise_convolution_is_lax_convolution(size, kernel, strides, padding):
  if padding == 'VALID':
    size = (size[0] + kernel, size[1] + kernel)
  x, w = _random((2, *size, 4), (kernel, kernel, 4, 1))
  module = convolution.DepthwiseConvolution(kernel, strides=strides, padding=padding)
  _check(
    lambda x, w: module.apply({'params': {'kernel': w}}, x),
    lambda x, w: jax.lax.conv_general_dilated(
      x,
      w.reshape(kernel, kernel, 1, 4),
      (strides, strides),
      padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=4,
    ),
    x,
    w,
  )


@pytest.mark.parametrize('in_axes', [(0, None), (None, 0), (0, 0)])
def test_vmap_is_a_loop(in_axes):
  """Folds: with a shared kernel, with a kernel each, on shared and own images."""
  x, w = _random((3, 2, 8, 6, 5), (3, 3, 3, 5, 7))
  x, w = (a if axis == 0 else a[0] for a, axis in zip((x, w), in_axes, strict=True))

  def convolve(x, w):
    return convolution.convolve(x, w, 2, 'SAME')

  def loop(x, w):
    pairs = [
      (x if in_axes[0] is None else x[i], w if in_axes[1] is None else w[i])
      for i in range(3)
    ]
    return jnp.stack([convolve(*pair) for pair in pairs])

  _check(jax.vmap(convolve, in_axes), loop, x, w)
