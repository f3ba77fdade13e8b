"""The versions of the game that experiments.egan_ablation compares, and their fits."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from egan_jax import two_covariance
from egan_jax.float32_products import in_float32
from egan_jax.rivals import plda
from experiments.egan_ablation import games
from experiments.egan_ablation.games import Game, Inputs, Minority, Top


@dataclasses.dataclass(frozen=True)
class Version:
  """A game, and what decides in the end.

  Attributes:
    game: what is played.
    averaged: whether the discriminator's average over steps decides.
    fused: whether one-class kNN is added, weighed as in 'plda_knn'.
    trained: False for what the game starts from.
  """

  game: Game
  averaged: bool = False
  fused: bool = False
  trained: bool = True


_PENALISED = Game(penalised=True)
_BOUNDARY = Game(boundary=True, penalised=True)
_REAL_ONLY = Game(generated=False, penalised=True)
VERSIONS = {
  'game': Version(Game(real=False, from_rule=False)),
  'real_minority': Version(Game(from_rule=False)),
  'from_rule': Version(Game()),
  'averaged': Version(Game(), averaged=True),
  'penalised': Version(_PENALISED, averaged=True),
  'fused': Version(_PENALISED, averaged=True, fused=True),
  'boundary': Version(_BOUNDARY, averaged=True),
  'boundary_fused': Version(_BOUNDARY, averaged=True, fused=True),
  'no_generator': Version(_REAL_ONLY, averaged=True),
  'no_generator_fused': Version(_REAL_ONLY, averaged=True, fused=True),
  'untrained': Version(Game(generated=False), trained=False),
  'untrained_fused': Version(Game(generated=False), fused=True, trained=False),
}


@dataclasses.dataclass(frozen=True)
class Setting:
  """How a game is played.

  Attributes:
    learning_rate: of both players' Adam.
    steps: each on a batch of majority images.
    hidden: units of the discriminator's layer, or 0; where it starts at random.
    prior: whether its inputs are weighed by how far classes are known to differ
      along each direction; where it starts as the rule.
    pull: the weight of the squared distance from its start.
    consistency: the weight of the squared difference of the scores of minority
      images and those with noise.
  """

  learning_rate: float
  steps: int
  hidden: int = 0
  prior: bool = False
  pull: float = 0.0
  consistency: float = 0.0


UNTRAINED = Setting(0.0, 0)
_MOST_STEPS = 300


class Fit:
  """What a set of majority images, features `[M, C]`, gives to every game on it.

  Attributes:
    model: of the two-covariance rule.
    majority: the images.
    of_majority: what the players see of them, as of `see_both`.
  """

  def __init__(
    self, majority: np.ndarray, directions: np.ndarray | None, top: Top | None = None
  ):
    self.model = two_covariance.measure_majority(majority, directions)
    self._top = top
    self.majority = majority
    z = self._raise(majority)
    self._centre, deviation = z.mean(axis=0), z.std(axis=0)
    self._deviation = np.where(deviation > 0, deviation, 1)
    self.of_majority = self.see_both(majority)

  def see(self, features: np.ndarray, game: Game) -> jax.Array:
    """What the players see, x float32 `[..., R]` of features `[..., C]`.

    The rule's y for a game that starts from it, else the root, standardised.
    """
    if game.from_rule:
      return jnp.asarray(self.model.project(features), jnp.float32)
    return jnp.asarray(
      (self._raise(features) - self._centre) / self._deviation, jnp.float32
    )

  def see_both(self, features: np.ndarray) -> dict[bool, jax.Array]:
    """x of features `[N, C]`, by whether the game starts from the rule."""
    return {b: self.see(features, Game(from_rule=b)) for b in (False, True)}

  def inputs(self, game: Game, prior: bool) -> Inputs:
    """Of the discriminator."""
    if not game.from_rule:
      return Inputs()
    b = jnp.asarray(self.model.variances, jnp.float32)
    scale = jnp.sqrt(b / (1 + b)) if prior else jnp.ones_like(b)
    return Inputs(scale, jnp.mean(self.of_majority[True] ** 2, axis=0))

  def top(self) -> Top:
    """From boundary activations to what the players of a game from the rule see."""
    centre, projection = (
      jnp.asarray(a, jnp.float32) for a in (self.model.centre, self.model.projection)
    )
    return self._top.replace(
      power=self.model.power, centre=centre, projection=projection
    )

  def _raise(self, features: np.ndarray) -> np.ndarray:
    return two_covariance.raise_to(features, self.model.power, np)


@dataclasses.dataclass(frozen=True)
class Played:
  """The discriminators of games of several draws.

  Attributes:
    inputs: of them.
    starts: their parameters before the game, leaves `[D, ...]`.
    last: after it.
    average: over its steps.
    units: `[S * D]`, what scores are multiplied by, so that those of fits on other
      majority images are alike.
  """

  inputs: Inputs
  starts: Any
  last: Any
  average: Any
  units: np.ndarray

  def moved(self) -> np.ndarray:
    """How far the weights went, in units of those at the start, `[D]`."""
    start, end = (np.asarray(p['weights']) for p in (self.starts, self.last))
    return np.linalg.norm(end - start, axis=1) / np.linalg.norm(start, axis=1)


def play(
  fit: Fit,
  game: Game,
  settings: Sequence[Setting],
  minority: np.ndarray,
  boundary: np.ndarray | None = None,
) -> Played:
  """Plays each draw's game in each setting.

  Args:
    fit: of the majority.
    game: what is played.
    settings: S of them, alike in steps, hidden and prior.
    minority: features `[D, n, C]`.
    boundary: boundary activations `[D, n, h, w, c]` they are made of, for a generator
      of such.

  Returns:
    Discriminators with leaves `[S * D, ...]`, a setting's draws together.
  """
  first, count = settings[0], len(minority)
  majority, x = fit.of_majority[game.from_rule], fit.see(minority, game)
  inputs = fit.inputs(game, first.prior)
  keys = jax.random.split(jax.random.key(1), count)
  if game.from_rule:
    starts, units = _start_from_rule(fit, inputs, majority, x)
  else:
    units = np.ones(count)
    num_inputs = inputs(majority).shape[1]
    starts = jax.vmap(lambda k: games.start_at_random(k, num_inputs, first.hidden))(
      keys
    )

  def repeat(a):
    return jnp.concatenate([a] * len(settings))

  images = Minority(x, jnp.asarray(boundary) if game.boundary else None)
  starts, images, keys = jax.tree.map(repeat, (starts, images, keys))
  rates = {
    name: jnp.repeat(jnp.array([getattr(s, name) for s in settings]), count)
    for name in ('learning_rate', 'pull', 'consistency')
  }
  # As many for any number of steps, so that all are compiled once.
  batches = games.make_batches(len(majority), max(first.steps, _MOST_STEPS))
  top = fit.top() if game.boundary else None
  last, average = games.play_draws(
    game, inputs, majority, images, starts, rates, batches, first.steps, keys, top
  )
  return Played(inputs, starts, last, average, np.tile(units, len(settings)))


def _start_from_rule(
  fit: Fit, inputs: Inputs, majority: jax.Array, minority: jax.Array
) -> tuple[Mapping[str, jax.Array], np.ndarray]:
  """The rules, in deviations of their scores of majority images, and these."""
  variances = jnp.asarray(fit.model.variances, jnp.float32)
  polynomials = jax.vmap(
    lambda images: two_covariance.ratio(two_covariance.infer(images, variances))
  )(minority)
  ones = jnp.ones(len(minority))
  starts = games.start_from_rule(polynomials, inputs, ones)
  units = games.score_draws(starts, inputs, majority).std(axis=1)
  return games.start_from_rule(polynomials, inputs, jnp.asarray(units)), units


def score(played: Played, averaged: bool, x: jax.Array) -> np.ndarray:
  """Scores `[S * D, N]` of x `[N, R]`."""
  params = played.average if averaged else played.last
  return games.score_draws(params, played.inputs, x) * played.units[:, None]


def score_neighbors(majority: np.ndarray, features: np.ndarray) -> np.ndarray:
  """The one-class kNN part `[N]`, as of 'plda_knn'."""
  index = majority / np.linalg.norm(majority, axis=1, keepdims=True)
  parts = [
    _score_neighbors(index, features[start : start + 500])
    for start in range(0, len(features), 500)
  ]
  return np.concatenate(parts)


_score_neighbors = jax.jit(in_float32(two_covariance.score_neighbors))


def fuse(
  scores: np.ndarray, of_held_out: np.ndarray, knn: np.ndarray, knn_of_held_out, n: int
) -> np.ndarray:
  """Scores `[D, N]` plus kNN `[N]`, each in deviations of held-out majority images."""

  def standardise(values, reference):
    mean = reference.mean(axis=-1, keepdims=True)
    return (values - mean) / reference.std(axis=-1, keepdims=True)

  weight = plda.weigh_knn(n)
  return standardise(scores, of_held_out) + weight * standardise(knn, knn_of_held_out)
