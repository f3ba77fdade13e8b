"""The step functions of a run, compiled for where its folds lie."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from egan_jax import steps
from egan_jax.backbones.trunk import Chunks, Trunk
from egan_jax.float32_products import in_float32
from egan_jax.parallel import ROWS, SHARED, Layout
from egan_jax.state import GameState, NetworkState

# Only bounds memory; every test image is scored whatever it is.
_SCORE_BATCH_SIZE = 512


def compile_epoch(
  layout: Layout,
  states: GameState,
  trunk: Trunk,
  majority: steps.Boundary,
  minority: steps.Boundary,
  keys: jax.Array,
  batch_size: int,
  chunks: Chunks | None = None,
) -> Callable[[GameState, np.ndarray], tuple[GameState, dict[str, jax.Array]]]:
  """Compiles one epoch of all folds, ahead of time.

  Args:
    layout: where the folds are.
    states: as `layout.split` leaves them.
    trunk: the discriminator's frozen layers.
    majority: the discriminator's activations, `[M, ...]`.
    minority: the generator's, `[F, n, ...]`.
    keys: `[F]`.
    batch_size: majority images per step and fold.
    chunks: as of `steps.run_trunk`, on each device.

  Returns:
    `steps.train_folds_epoch` of split states, which it consumes, and bool `[F]`.
  """
  shared = layout.share((trunk, majority))
  own = layout.split((minority, keys))
  active = layout.split(np.ones(layout.num_rows, bool))
  train_epoch = (
    layout.jit(
      functools.partial(_train_folds_epoch, batch_size, chunks),
      in_specs=(ROWS, ROWS, SHARED, SHARED, ROWS, ROWS),
      donate_argnums=0,
    )
    .lower(states, active, *shared, *own)
    .compile()
  )
  return lambda states, active: train_epoch(states, layout.split(active), *shared, *own)


def compile_score(
  layout: Layout, discriminators: NetworkState, test: steps.Boundary
) -> Callable[[NetworkState], jax.Array]:
  """Compiles the evaluation of all folds: split discriminators to split scores."""
  test = layout.share(test)
  score = (
    layout.jit(_score_folds, in_specs=(ROWS, SHARED))
    .lower(discriminators, test)
    .compile()
  )
  return lambda discriminators: score(discriminators, test)


def compile_score_fed(
  layout: Layout,
  discriminators: NetworkState,
  minority: steps.Boundary,
  majority: steps.Boundary,
) -> Callable[[NetworkState], dict[str, jax.Array]]:
  """Compiles the scores of images the games are fed with, all by discriminators.

  Args:
    layout: where the folds are.
    discriminators: as `layout.split` leaves them.
    minority: each fold's own, `[F, n, ...]`.
    majority: `[M, ...]`.

  Returns:
    Split discriminators to split scores: `fed_minority` `[F, n]` and
    `fed_majority` `[F, M]`.
  """
  images = layout.split(minority), layout.share(majority)
  score = (
    layout.jit(_score_fed, in_specs=(ROWS, ROWS, SHARED))
    .lower(discriminators, *images)
    .compile()
  )
  return lambda discriminators: score(discriminators, *images)


def compile_choose(layout: Layout) -> Callable[[np.ndarray, Any, Any], Any]:
  """`steps.choose_folds` of bool `[F]` and split trees; the result is a copy."""
  choose = layout.jit(steps.choose_folds, in_specs=(ROWS, ROWS, ROWS))
  return lambda mask, new, old: choose(layout.split(mask), new, old)


def generate(
  layout: Layout, generators: NetworkState, minority: steps.Boundary
) -> np.ndarray:
  """Images `[F, n, 32, 32, 3]`, by the statistics of their batch as in training."""

  def run(generators, minority):
    images, _ = jax.vmap(steps.generate)(generators, generators.params, minority)
    return images

  run = layout.jit(run, in_specs=(ROWS, ROWS))
  return layout.gather(run(generators, layout.split(minority)))


def _train_folds_epoch(
  batch_size, chunks, states, active, trunk, majority, minority, keys
):
  trained, terms = steps.train_folds_epoch(
    states.replace(discriminator=_split_batches(states.discriminator)),
    active,
    trunk,
    majority,
    minority,
    keys,
    batch_size,
    chunks,
  )
  # The next epoch takes what this one gives.
  discriminator = trained.discriminator.replace(apply_fn=states.discriminator.apply_fn)
  return trained.replace(discriminator=discriminator), terms


@in_float32
def _score_folds(discriminators, test):
  return steps.score_folds(_split_batches(discriminators), test, _SCORE_BATCH_SIZE)


@in_float32
def _score_fed(discriminators, minority, majority):
  discriminators = _split_batches(discriminators)
  return {
    'fed_minority': steps.score_own(discriminators, minority, _SCORE_BATCH_SIZE),
    'fed_majority': steps.score_folds(discriminators, majority, _SCORE_BATCH_SIZE),
  }


def _split_batches(network: NetworkState) -> NetworkState:
  """The network, every batch it sees split over the second axis of the mesh.

  A batch that cannot be split evenly stays whole.
  """
  parts = jax.sharding.get_abstract_mesh().shape['majority']
  if parts == 1:
    return network

  def split(array):
    if array.shape[0] % parts:
      return array
    return jax.lax.with_sharding_constraint(array, jax.P('majority'))

  def apply(variables, boundary, **options):
    return network.apply_fn(variables, jax.tree.map(split, boundary), **options)

  return network.replace(apply_fn=apply)
