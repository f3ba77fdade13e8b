import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.small_runs import make_tiny_player


@pytest.fixture(scope='module')
def make(tiny_variables):
  return lambda dtype: make_tiny_player(tiny_variables, trunk_dtype=dtype).trunk


_run = jax.jit(lambda trunk, images: trunk(images))


def _images():
  return jnp.asarray(np.random.default_rng(0).random((4, 16, 16, 3)), jnp.float32)


def test_bfloat16_is_the_kernels_alone(make):
  narrow, wide, images = make('bfloat16'), make('float32'), _images()
  for path, leaf in jax.tree_util.tree_leaves_with_path(narrow.variables):
    expected = jnp.bfloat16 if path[-1].key == 'kernel' else jnp.float32
    assert leaf.dtype == expected
  hlo = _run.lower(narrow, images).as_text()
  convolutions = [line for line in hlo.splitlines() if 'stablehlo.convolution' in line]
  assert convolutions and all('bf16' in line for line in convolutions)
  expected = _run(wide, images)
  for name, ours in _run(narrow, images).items():
    theirs = expected[name]
    assert ours.dtype == theirs.dtype == jnp.float32
    error = jnp.abs(ours - theirs).max() / jnp.abs(theirs).max()
    assert 0 < error < 0.02  # bfloat16 keeps 8 bits


def test_bfloat16_hands_float32_gradients_back(make):
  @jax.jit
  @functools.partial(jax.grad, argnums=1)
  def differentiate(trunk, images):
    return sum(jnp.sum(a**2) for a in trunk(images).values())

  gradient = differentiate(make('bfloat16'), _images())
  expected = differentiate(make('float32'), _images())
  assert gradient.dtype == jnp.float32
  # Rounding may turn a ReLU or choose the other of two pixels: few are far off.
  errors = jnp.abs(gradient - expected) / jnp.abs(expected).max()
  assert 0 < jnp.quantile(errors, 0.95) < 0.01
