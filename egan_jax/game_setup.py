"""What a game is played with: the two players, what they are fed, and their keys."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from egan_jax import backbones, pretrained, steps
from egan_jax import state as egan_state
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.activation_cache import ActivationCache
from egan_jax.data.draws import Draws
from egan_jax.data.two_classes import TwoClasses, take
from egan_jax.evaluation import epoch_choice
from egan_jax.settings import NetworkSettings
from egan_jax.state import Player


@dataclasses.dataclass(frozen=True)
class Game:
  """The two players and what they are fed: boundary activations, made once.

  Attributes:
    generator: what the generator is made of.
    discriminator: what the discriminator is made of.
    minority: the generator's activations of every fold's images, `[F, n, ...]`; folds
      of several seeds follow each other.
    minority_to_score: the discriminator's of the same, at most
      `epoch_choice.NUM_FED_SCORED` of each fold.
    majority: the discriminator's, `[M, ...]`.
    test: the discriminator's, `[T, ...]`.
    is_minority: bool `[T]`.
  """

  generator: Player
  discriminator: Player
  minority: steps.Boundary
  minority_to_score: steps.Boundary
  majority: steps.Boundary
  test: steps.Boundary
  is_minority: np.ndarray


def set_up(
  networks: NetworkSettings, images: TwoClasses, draws: Draws, cache: ActivationCache
) -> Game:
  """Loads weights and runs the frozen trunks over all real images."""
  load = functools.cache(pretrained.load)
  generator = make_player(networks, 'generator', load)
  discriminator = make_player(networks, 'discriminator', load)
  return Game(
    generator=generator,
    discriminator=discriminator,
    minority=compute_folds(cache, generator.trunk, images, draws.minority),
    minority_to_score=compute_folds(
      cache,
      discriminator.trunk,
      images,
      draws.minority[:, : epoch_choice.NUM_FED_SCORED],
    ),
    majority=cache.compute(discriminator.trunk, take(images.majority, draws.majority)),
    test=cache.compute(discriminator.trunk, images.test),
    is_minority=images.test_is_minority,
  )


def compute_folds(
  cache: ActivationCache, trunk: Trunk, images: TwoClasses, indices: np.ndarray
) -> steps.Boundary:
  """Activations `[F, n, ...]` of every fold's minority images, of indices `[F, n]`."""
  drawn = cache.compute(trunk, images.minority[indices.ravel()])
  return jax.tree.map(lambda a: a.reshape(*indices.shape, *a.shape[1:]), drawn)


def _split_seed(seed: int) -> dict[str, jax.Array]:
  """Rng keys of each network's random weights and of the folds."""
  names = 'generator', 'discriminator', 'folds'
  return dict(zip(names, jax.random.split(jax.random.key(seed), 3), strict=True))


def make_player(
  networks: NetworkSettings, role: str, load: Callable = pretrained.load
) -> Player:
  """The 'generator' or 'discriminator', its weights loaded and its backbone cut."""
  return egan_state.make_player(
    backbones.get(getattr(networks, f'{role}_backbone')),
    getattr(networks, f'{role}_weights'),
    networks.fine_tune_layers,
    networks.preprocess,
    networks.image_size,
    _split_seed(networks.seed)[role],
    load=load,
    trunk_dtype=networks.trunk_dtype,
  )


def make_keys(seed: int, num_seeds: int, num_folds: int) -> jax.Array:
  """Keys `[num_seeds * num_folds]` of all folds, seed after seed.

  A fold's depends on its own seed and number, not on how many there are.
  """
  fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  folds = jnp.arange(num_folds)
  keys = [fold_in(_split_seed(seed + i)['folds'], folds) for i in range(num_seeds)]
  return jnp.concatenate(keys)
