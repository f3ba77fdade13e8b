import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.backbones.max_pooling import max_pool


def _gradient(pool, x):
  def loss(x):
    y = pool(x)
    return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape)))

  return jax.grad(loss)(x)


@pytest.mark.parametrize('height, width', [(8, 8), (7, 9)])
@pytest.mark.parametrize('size, strides', [(2, 2), (3, 2), (3, 1)])
@pytest.mark.parametrize('padding', ['VALID', 'SAME'])
def test_is_flax_max_pool_with_its_gradient(height, width, size, strides, padding):
  # Whole numbers: ties, which go to the first pixel of the window in both.
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.integers(-2, 3, size=(2, height, width, 3)), jnp.float32)

  def ours(x):
    return max_pool(x, size, strides, padding)

  def theirs(x):
    return nn.max_pool(x, (size, size), (strides, strides), padding)

  np.testing.assert_array_equal(ours(x), theirs(x))
  np.testing.assert_allclose(_gradient(ours, x), _gradient(theirs, x), atol=1e-6)


def test_vmap_is_a_loop():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 7, 7, 4)), jnp.float32)

  def gradient(x):
    return _gradient(lambda x: max_pool(x, 3, 2, 'SAME'), x)

  np.testing.assert_array_equal(
    jax.vmap(gradient)(x), jnp.stack([gradient(one) for one in x])
  )
