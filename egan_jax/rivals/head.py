"""Rivals that train the discriminator's own head, with another objective.

Same backbone, same layers fine-tuned, same pooling, dropout, last unit and optimiser as
eGAN's discriminator, the last unit from another random start; what differs is the loss,
and that real minority images are seen. Draws train side by side.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from egan_jax.float32_products import in_float32
from egan_jax.models.pooled_head import PooledHead
from egan_jax.rivals import batches, objectives
from egan_jax.rivals.objectives import Context, Objective
from egan_jax.scorers import Scorer
from egan_jax.state import NetworkState, Player, create_game_state
from egan_jax.steps import Boundary, count_images


@dataclasses.dataclass(frozen=True)
class HeadTraining:
  """How a head is trained; by default as eGAN's discriminator is.

  Attributes:
    player: the backbone, cut (`state.make_player`).
    num_epochs: passes over the majority images.
    batch_size: images per step.
    learning_rate: of Adam.
    dropout_rate: before the last unit.
  """

  player: Player
  num_epochs: int = 100
  batch_size: int = 128
  learning_rate: float = 1e-4
  dropout_rate: float = 0.2

  @property
  def head(self) -> PooledHead:
    """The layers after the cut, up to the pooled features."""
    return PooledHead(self.player.head, self.player.backbone.pooling)

  # Kept, so that it is compiled once.
  @functools.cached_property
  def create_networks(self) -> Callable[[jax.Array], NetworkState]:
    """From keys `[D]` to the untrained discriminators of games with these keys."""

    def create(key):
      # XLA leaves the generator out, whose result nobody reads.
      return create_game_state(
        key,
        generator=self.player,
        discriminator=self.player,
        learning_rate=self.learning_rate,
        dropout_rate=self.dropout_rate,
      ).discriminator

    return jax.jit(jax.vmap(create))


def fit_draws(
  objective: Objective,
  majority: Boundary,
  minority: Boundary,
  seeds: Sequence[int],
  training: HeadTraining,
) -> list[Scorer]:
  """Trains one head per draw.

  Args:
    objective: what for.
    majority: activations of the majority images, `[M, ...]`, shared by the draws.
    minority: activations of each draw's minority images, `[D, n, ...]`.
    seeds: of each draw, `[D]`.
    training: the backbone and how to train.

  Returns:
    D scorers of boundary activations.
  """
  majority, minority = jax.tree.map(jnp.asarray, (majority, minority))
  keys = jnp.stack([jax.random.key(seed) for seed in seeds])
  networks = training.create_networks(keys)
  contexts = _prepare(objective, training.head, networks, majority, minority, keys)
  for _ in tqdm(range(training.num_epochs), unit='epoch', leave=False, disable=None):
    networks = _train_epoch(
      objective,
      training.head,
      training.batch_size,
      networks,
      contexts,
      majority,
      minority,
      keys,
    )

  # The optimiser stays behind.
  arrays = networks.variables()
  arrays |= {name: contexts[name] for name in objective.scored_with}
  return [
    Scorer(jax.tree.map(lambda a, d=draw: a[d], arrays), objective.kind, training.head)
    for draw in range(len(seeds))
  ]


def pool_features(boundary: Boundary, training: HeadTraining) -> np.ndarray:
  """Features `[N, C]` of the whole backbone before training, from `[N, ...]`."""
  networks = training.create_networks(jax.random.key(0)[None])
  network = jax.tree.map(lambda a: a[0], networks)
  return np.asarray(_pool(training.head, network, jax.tree.map(jnp.asarray, boundary)))


# Made once, so that it is compiled once for images of a shape.
_pool = jax.jit(in_float32(objectives.pool), static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _prepare(
  objective: Objective,
  head: PooledHead,
  networks: NetworkState,
  majority: Boundary,
  minority: Boundary,
  keys: jax.Array,
) -> Context:
  num_minority = jax.tree.leaves(minority)[0].shape[1]
  return jax.vmap(
    lambda network, key: objective.prepare(head, network, majority, num_minority, key),
    out_axes=0,
    axis_size=len(keys),
  )(networks, keys)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _train_epoch(
  objective: Objective,
  head: PooledHead,
  batch_size: int,
  networks: NetworkState,
  contexts: Context,
  majority: Boundary,
  minority: Boundary,
  keys: jax.Array,
) -> NetworkState:
  """One epoch of every draw: a larger batch of the shared majority images."""
  epoch = functools.partial(_train_one_epoch, objective, head, batch_size)
  return jax.vmap(epoch, in_axes=(0, 0, None, 0, 0))(
    networks, contexts, majority, minority, keys
  )


def _train_one_epoch(
  objective, head, batch_size, network, context, majority, minority, key
):
  """One epoch of one draw; the step counter makes each epoch draw anew."""
  order_key, dropout_key = jax.random.split(key)
  num_majority, num_minority = count_images(majority), count_images(minority)
  indices_and_masks = objective.make_batches(
    jax.random.fold_in(order_key, network.step), num_majority, num_minority, batch_size
  )

  of_loss = {
    name: value for name, value in context.items() if name not in objective.scored_with
  }

  def step(network, batch):
    indices, mask = batch
    boundary = batches.take(majority, minority, indices)

    def mean_loss(params):
      step_key = jax.random.fold_in(dropout_key, network.step)
      scores = objective.score(head, network, params, context, boundary, step_key)
      each = objective.loss(scores, indices >= num_majority, **of_loss)
      return jnp.sum(each, where=mask) / jnp.sum(mask)

    return network.apply_gradients(grads=jax.grad(mean_loss)(network.params)), None

  return jax.lax.scan(step, network, indices_and_masks)[0]
