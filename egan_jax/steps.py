"""One step, one epoch, one evaluation of the game: arrays and state in and out.

Pure functions without configs or files; jit and vmap them as you like, with
`batch_size` and `chunks` static. They are written for one fold. `train_folds_epoch` and
`score_folds` run several side by side, with the frozen trunk shared.

Boundary activations are dicts of arrays `[B, h, w, c]` by layer name: what a
frozen trunk makes of images. Those of real images never change, so they come in
ready made.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from egan_jax import losses
from egan_jax.backbones.trunk import Chunks, Trunk
from egan_jax.state import GameState, NetworkState

Boundary = dict[str, jax.Array]
# Sum and count over examples by name of the loss term, so that epochs of
# unequal batches average right.
LossSums = dict[str, tuple[jax.Array, jax.Array]]


def generate(
  generator: NetworkState, params: Any, minority: Boundary
) -> tuple[jax.Array, Any]:
  """Generated images `[n, 32, 32, 3]` in [0, 1] and updated batch statistics."""
  images, updated = generator.apply_fn(
    generator.variables(params),
    minority,
    train=True,
    mutable=['batch_stats'],
  )
  return images, updated['batch_stats']


def run_trunk(
  trunk: Trunk, images: jax.Array, chunks: Chunks | None = None
) -> Boundary:
  """Boundary activations `[n, h, w, c]` of generated images `[n, H, W, 3]`.

  Args:
    trunk: the discriminator's frozen layers.
    images: in [0, 1].
    chunks: how many images at a time, which suits a processor's cache and bounds the
      backward pass's memory; None for all.
  """
  number = len(images)
  if chunks is None or number <= chunks.size:
    return trunk(images)
  num_chunks = -(-number // chunks.size)
  size = -(-number // num_chunks)
  padding = ((0, num_chunks * size - number), (0, 0), (0, 0), (0, 0))
  parts = jnp.pad(images, padding).reshape(num_chunks, size, *images.shape[1:])
  run = trunk.__call__
  if number > chunks.kept:
    run = jax.checkpoint(run)
  activations = jax.lax.map(run, parts)
  return jax.tree.map(
    lambda a: a.reshape(num_chunks * size, *a.shape[2:])[:number], activations
  )


def discriminate(
  discriminator: NetworkState, params: Any, boundary: Boundary, dropout_key: jax.Array
) -> jax.Array:
  """Scores `[B]` in training, with dropout; positive means majority."""
  return discriminator.apply_fn(
    discriminator.variables(params),
    boundary,
    train=True,
    rngs={'dropout': dropout_key},
  )


def train_step(
  state: GameState,
  trunk: Trunk,
  majority: Boundary,
  majority_mask: jax.Array,
  minority: Boundary,
  key: jax.Array,
  chunks: Chunks | None = None,
) -> tuple[GameState, LossSums]:
  """Updates both players from the same generated batch: equation (1).

  Args:
    state: both players.
    trunk: the discriminator's frozen layers, for the generated images.
    majority: the discriminator's activations of a majority batch, `[B, ...]`.
    majority_mask: bool `[B]`, False where the batch is padding.
    minority: the generator's activations of all minority images, `[n, ...]`.
    key: rng key of this step.
    chunks: as of `run_trunk`.

  Returns:
    The new state, and the loss terms `majority`, `generated` (together the
    discriminator's loss) and `generator`.
  """
  majority_key, generated_key = jax.random.split(key)

  def objective(generator_params, discriminator_params):
    images, batch_stats = generate(state.generator, generator_params, minority)
    generated = run_trunk(trunk, images, chunks)
    # The two players' gradients must not mix: the discriminator takes the
    # generated activations as given, the generator the discriminator.
    scores_of_majority = discriminate(
      state.discriminator, discriminator_params, majority, majority_key
    )
    scores_of_generated = discriminate(
      state.discriminator,
      discriminator_params,
      jax.lax.stop_gradient(generated),
      generated_key,
    )
    scores_for_generator = discriminate(
      state.discriminator,
      jax.lax.stop_gradient(discriminator_params),
      generated,
      generated_key,
    )
    count = len(scores_of_generated)
    sums = {
      'majority': (
        jnp.sum(losses.majority_loss(scores_of_majority), where=majority_mask),
        jnp.sum(majority_mask),
      ),
      'generated': (jnp.sum(losses.generated_loss(scores_of_generated)), count),
      'generator': (jnp.sum(losses.generator_loss(scores_for_generator)), count),
    }
    total = sum(loss / number for loss, number in sums.values())
    return total, (sums, batch_stats)

  gradients, (sums, batch_stats) = jax.grad(objective, argnums=(0, 1), has_aux=True)(
    state.generator.params, state.discriminator.params
  )
  generator = state.generator.apply_gradients(
    grads=gradients[0], batch_stats=batch_stats
  )
  discriminator = state.discriminator.apply_gradients(grads=gradients[1])
  return GameState(generator, discriminator), sums


def train_epoch(
  state: GameState,
  trunk: Trunk,
  majority: Boundary,
  minority: Boundary,
  key: jax.Array,
  batch_size: int,
  chunks: Chunks | None = None,
) -> tuple[GameState, dict[str, jax.Array]]:
  """All majority batches in a fresh order, the last one as small as it is.

  Args:
    state: both players.
    trunk: the discriminator's frozen layers.
    majority: the discriminator's activations of all majority images, `[M, ...]`.
    minority: the generator's activations of all minority images, `[n, ...]`.
    key: rng key of the whole run; the state's step counter does the rest, so
      a resumed run draws what an uninterrupted one would.
    batch_size: majority images per step.
    chunks: as of `run_trunk`.

  Returns:
    The new state and the mean of each loss term over the epoch's examples.
  """
  shuffle_key, step_key = jax.random.split(key)
  first_step = state.discriminator.step
  num_majority = count_images(majority)
  order = jax.random.permutation(
    jax.random.fold_in(shuffle_key, first_step), num_majority
  )

  def body(state, batch):
    indices, mask = batch
    return train_step(
      state,
      trunk,
      jax.tree.map(lambda a: a[indices], majority),
      mask,
      minority,
      jax.random.fold_in(step_key, state.discriminator.step),
      chunks,
    )

  state, sums = jax.lax.scan(body, state, cut_into_batches(order, batch_size))
  return state, {name: s.sum() / n.sum() for name, (s, n) in sums.items()}


def score(
  discriminator: NetworkState, boundary: Boundary, batch_size: int
) -> jax.Array:
  """Scores `[N]` of images from the discriminator's activations `[N, ...]`."""
  return map_in_batches(
    lambda part: discriminator.apply_fn(discriminator.variables(), part),
    boundary,
    batch_size,
  )


def map_in_batches(
  function: Callable[[Boundary], jax.Array], boundary: Boundary, batch_size: int
) -> jax.Array:
  """`function`, from activations `[B, ...]` to `[B, ...]`, of all `[N, ...]` in turn."""
  indices, _ = cut_into_batches(jnp.arange(count_images(boundary)), batch_size)
  results = jax.lax.map(
    lambda rows: function(jax.tree.map(lambda a: a[rows], boundary)), indices
  )
  return results.reshape(-1, *results.shape[2:])[: count_images(boundary)]


def count_images(boundary: Boundary) -> int:
  """How many images the activations `[N, ...]` are of."""
  return jax.tree.leaves(boundary)[0].shape[0]


def cut_into_batches(order: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
  """Indices `[steps, batch_size]`, the last row padded, and their bool mask."""
  batch_size = min(batch_size, len(order))
  num_steps = -(-len(order) // batch_size)
  padding = num_steps * batch_size - len(order)
  mask = jnp.arange(num_steps * batch_size) < len(order)
  return (
    jnp.pad(order, (0, padding)).reshape(num_steps, batch_size),
    mask.reshape(num_steps, batch_size),
  )


def train_folds_epoch(
  states: GameState,
  active: jax.Array,
  trunk: Trunk,
  majority: Boundary,
  minority: Boundary,
  keys: jax.Array,
  batch_size: int,
  chunks: Chunks | None = None,
) -> tuple[GameState, dict[str, jax.Array]]:
  """`train_epoch` of several folds: one larger batch through the shared trunk.

  Args:
    states: players of every fold, leaves `[F, ...]`.
    active: bool `[F]`; a fold that is not keeps its state.
    trunk: shared by the folds.
    majority: shared by the folds, `[M, ...]`.
    minority: `[F, n, ...]`.
    keys: `[F]`.
    batch_size: majority images per step and fold.
    chunks: as of `run_trunk`, all folds together.

  Returns:
    New states and loss terms, `[F]` each.
  """
  if chunks is not None:
    chunks = chunks.share(len(keys))
  trained, terms = jax.vmap(train_epoch, in_axes=(0, None, None, 0, 0, None, None))(
    states, trunk, majority, minority, keys, batch_size, chunks
  )

  return choose_folds(active, trained, states), terms


def choose_folds(mask: jax.Array, new: Any, old: Any) -> Any:
  """Leaves `[F, ...]` of `new` for the folds where bool `[F]` is true, else of `old`."""

  def choose(new, old):
    return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)

  return jax.tree.map(choose, new, old)


def score_folds(
  discriminators: NetworkState, boundary: Boundary, batch_size: int
) -> jax.Array:
  """Scores `[F, N]` of the same images by every fold's discriminator."""
  return jax.vmap(score, in_axes=(0, None, None))(discriminators, boundary, batch_size)


def score_own(
  discriminators: NetworkState, boundary: Boundary, batch_size: int
) -> jax.Array:
  """Scores `[F, n]` of each fold's own images `[F, n, ...]` by its discriminator."""
  return jax.vmap(score, in_axes=(0, 0, None))(discriminators, boundary, batch_size)
