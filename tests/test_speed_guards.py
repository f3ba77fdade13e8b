"""What makes a run fast, counted: these numbers do not depend on the machine."""

import collections
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import scorers, steps
from egan_jax import state as egan_state

NUM_MAJORITY, BATCH = 11, 4
# Of the tiny backbone's three convolutions two are frozen and no 1x1 product.
TRUNK_CONVOLUTIONS = 2


def _setting(player, num_folds, num_minority):
  def activations(*leading):
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    return jax.tree.map(
      lambda a: jnp.broadcast_to(a, (*leading, *a.shape[1:])), player.trunk(image[None])
    )

  keys = jax.random.split(jax.random.key(3), num_folds)
  create = functools.partial(
    egan_state.create_game_state,
    generator=player,
    discriminator=player,
    learning_rate=1e-2,
  )
  return (
    jax.jit(jax.vmap(create))(keys),
    jnp.ones(num_folds, bool),
    player.trunk,
    activations(NUM_MAJORITY),
    activations(num_folds, num_minority),
    keys,
  )


def _count(jaxpr):
  """How often each primitive stands in a program, loops counted once."""
  counts = collections.Counter()
  for equation in jaxpr.eqns:
    counts[equation.primitive.name] += 1
    for value in equation.params.values():
      for inner in jax.tree.leaves(
        value, is_leaf=lambda v: isinstance(v, jax.extend.core.ClosedJaxpr)
      ):
        if isinstance(inner, jax.extend.core.ClosedJaxpr):
          counts += _count(inner.jaxpr)
        elif isinstance(inner, jax.extend.core.Jaxpr):
          counts += _count(inner)
  return counts


@pytest.mark.parametrize('num_folds', [1, 3])
def test_one_trunk_pass_forward_and_one_backward(tiny_player, num_folds):
  """A step runs the trunk once for both players and all folds, and once back."""
  setting = _setting(tiny_player, num_folds, num_minority=3)
  program = jax.make_jaxpr(steps.train_folds_epoch, static_argnums=6)(*setting, BATCH)
  counts = _count(program.jaxpr)
  assert counts['conv_general_dilated'] == 2 * TRUNK_CONVOLUTIONS


def test_networks_alike_share_what_compiled_steps_are_bound_to(tiny_player):
  """Else each fit of a classifier would compile its steps again."""
  one, other = (_setting(tiny_player, 2, 3)[0] for _ in range(2))
  assert jax.tree.structure(one) == jax.tree.structure(other)


def test_no_weights_are_in_a_name(tiny_player):
  """JAX names what it compiles by how it prints, and arrays print in seconds."""
  arrays = {'centre': np.zeros(3), 'weights': np.ones(3), 'offset': 0.0}
  for named in (tiny_player, tiny_player.trunk, scorers.make(arrays, 'linear')):
    assert 'array' not in repr(named).lower()


def test_evaluation_runs_no_trunk(tiny_player):
  states, _, _, majority, *_ = _setting(tiny_player, 3, 3)
  program = jax.make_jaxpr(steps.score_folds, static_argnums=2)(
    states.discriminator, majority, BATCH
  )
  assert _count(program.jaxpr)['conv_general_dilated'] == 0


def test_epochs_do_not_recompile(tiny_player):
  chex.clear_trace_counter()
  states, *rest = _setting(tiny_player, 2, 3)
  epoch = jax.jit(
    chex.assert_max_traces(steps.train_folds_epoch, n=1), static_argnums=6
  )
  for _ in range(3):
    states, _ = epoch(states, *rest, BATCH)
