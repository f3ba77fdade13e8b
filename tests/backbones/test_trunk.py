import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import state as egan_state


@pytest.fixture(scope='module')
def make(tiny_backbone, tiny_variables):
  def make(dtype):
    return egan_state.make_player(
      tiny_backbone,
      'imagenet',
      4,
      'scale',
      16,
      jax.random.key(0),
      load=lambda name, path: tiny_variables,
      trunk_dtype=dtype,
    ).trunk

  return make


def _images():
  return jnp.asarray(np.random.default_rng(0).random((4, 16, 16, 3)), jnp.float32)


def test_bfloat16_is_the_kernels_alone(make):
  narrow, wide, images = make('bfloat16'), make('float32'), _images()
  for path, leaf in jax.tree_util.tree_leaves_with_path(narrow.variables):
    expected = jnp.bfloat16 if path[-1].key == 'kernel' else jnp.float32
    assert leaf.dtype == expected
  hlo = jax.jit(lambda trunk, images: trunk(images)).lower(narrow, images).as_text()
  convolutions = [line for line in hlo.splitlines() if 'stablehlo.convolution' in line]
  assert convolutions and all('bf16' in line for line in convolutions)
  for name, ours in narrow(images).items():
    theirs = wide(images)[name]
    assert ours.dtype == theirs.dtype == jnp.float32
    error = jnp.abs(ours - theirs).max() / jnp.abs(theirs).max()
    assert 0 < error < 0.02  # bfloat16 keeps 8 bits


def test_bfloat16_hands_float32_gradients_back(make):
  trunk = make('bfloat16')

  def loss(trunk, images):
    return sum(jnp.sum(a**2) for a in trunk(images).values())

  gradient = jax.grad(loss, argnums=1)(trunk, _images())
  expected = jax.grad(loss, argnums=1)(make('float32'), _images())
  assert gradient.dtype == jnp.float32
  assert jnp.abs(gradient - expected).max() < 0.05 * jnp.abs(expected).max()
