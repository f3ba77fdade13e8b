"""Versions of the paper's game on frozen features, for experiments.egan_ablation.

Two players see features x `[R]` of an image. The generator turns minority images'
features, or the boundary activations these are made of, into others, the discriminator
scores both and those of majority images, and the losses are those of egan_jax.losses. Everything is played for several draws of the
minority at once, against the same majority.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from egan_jax import losses, two_covariance

BATCH_SIZE = 128
# Minority images per step; of more, so many are drawn for each step.
MOST_MINORITY = 25
GENERATOR_UNITS = 16
AVERAGE_DECAY = 0.98
# Of the consistency penalty, in units of the features within a class.
NOISE = 0.5

Params = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Game:
  """What is played.

  Attributes:
    generated: whether there is a generator.
    boundary: whether it makes boundary activations, and frozen layers x of them, or x.
    real: whether the discriminator sees the real minority images.
    from_rule: whether it starts as the two-covariance rule, on x and its squares,
      or with random weights, on x alone.
    penalised: whether it is held to its start and to like scores for images alike.
  """

  generated: bool = True
  boundary: bool = False
  real: bool = True
  from_rule: bool = True
  penalised: bool = False


@struct.dataclass
class Top:
  """From boundary activations to x: a backbone's last, frozen layers and the model.

  Attributes:
    apply: from `variables` and boundary activations `[B, h, w, c]` to features `[B, C]`.
    variables: of the layers.
    power: of the features, as of `two_covariance.Majority`; likewise `centre` and
      `projection`.
  """

  apply: Callable[[Any, jax.Array], jax.Array] = struct.field(pytree_node=False)
  variables: Any
  power: float = 1.0
  centre: jax.Array | float = 0.0
  projection: jax.Array | None = None

  def __call__(self, boundary: jax.Array) -> jax.Array:
    """x `[B, R]` of boundary activations `[B, h, w, c]`."""
    z = two_covariance.raise_to(self.apply(self.variables, boundary), self.power)
    return (z - self.centre) @ self.projection


@struct.dataclass
class Minority:
  """Images of a draw, or of several.

  Attributes:
    x: `[..., n, R]`.
    boundary: their boundary activations `[..., n, h, w, c]`, where the generator makes
      such.
  """

  x: jax.Array
  boundary: jax.Array | None = None


@struct.dataclass
class Inputs:
  """What the discriminator reads: x, or x and x squared, weighed.

  Attributes:
    scale: `[R]`, of x; that of its squares is its square. None: x as it is, alone.
    mean_square: `[R]`, of the majority.
  """

  scale: jax.Array | None = None
  mean_square: jax.Array | None = None

  def __call__(self, x: jax.Array) -> jax.Array:
    """`[..., R]` or, with squares, `[..., 2 R]` of x `[..., R]`."""
    if self.scale is None:
      return x
    squares = (x**2 - self.mean_square) * self.scale**2
    return jnp.concatenate([x * self.scale, squares], axis=-1)


def score(params: Params, inputs: jax.Array) -> jax.Array:
  """The discriminator's scores `[...]` of inputs `[..., K]`; negative is minority."""
  if 'hidden' in params:
    inputs = jax.nn.relu(inputs @ params['hidden'] + params['hidden_offset'])
  return inputs @ params['weights'] + params['offset']


def start_from_rule(polynomials: Params, inputs: Inputs, units: jax.Array) -> Params:
  """Discriminators that give each draw's log-likelihood ratio, in its unit.

  Args:
    polynomials: of `two_covariance.ratio`, leaves `[D, ...]`.
    inputs: of the discriminator, with squares.
    units: `[D]`, by which the ratios are divided.
  """
  linear, quadratic = polynomials['linear'], polynomials['quadratic']
  parts = [linear / inputs.scale, quadratic / inputs.scale**2]
  offset = polynomials['constant'] + quadratic @ inputs.mean_square
  return {
    'weights': jnp.concatenate(parts, axis=1) / units[:, None],
    'offset': offset / units,
  }


def start_at_random(key: jax.Array, num_inputs: int, hidden: int) -> Params:
  """A linear discriminator, or one with a layer of `hidden` units."""
  first, last = jax.random.split(key)
  initialise = jax.nn.initializers.lecun_normal()
  if not hidden:
    return {
      'weights': initialise(last, (num_inputs, 1))[:, 0],
      'offset': jnp.zeros(()),
    }
  return {
    'hidden': initialise(first, (num_inputs, hidden)),
    'hidden_offset': jnp.zeros(hidden),
    'weights': initialise(last, (hidden, 1))[:, 0],
    'offset': jnp.zeros(()),
  }


def make_generator(key: jax.Array, num_features: int) -> Params:
  """A generator that starts with the minority images as they are.

  Args:
    key: of its random weights.
    num_features: of x, or channels of boundary activations.
  """
  first, second = jax.random.split(key)
  initialise = jax.nn.initializers.lecun_normal()
  units = GENERATOR_UNITS
  return {
    'encoder': initialise(first, (num_features, units)),
    'encoder_offset': jnp.zeros(units),
    'residual': initialise(second, (units, units)),
    'residual_offset': jnp.zeros(units),
    'decoder': jnp.zeros((units, num_features)),
    'decoder_offset': jnp.zeros(num_features),
  }


def generate(params: Params, minority: jax.Array) -> jax.Array:
  """Features `[n, R]` from those of minority images `[n, R]`.

  Of boundary activations `[n, h, w, c]`, place by place.
  """
  code = jax.nn.relu(minority @ params['encoder'] + params['encoder_offset'])
  code += jax.nn.relu(code @ params['residual'] + params['residual_offset'])
  return minority + code @ params['decoder'] + params['decoder_offset']


def play_draws(
  game: Game,
  inputs: Inputs,
  majority: jax.Array,
  minority: Minority,
  starts: Params,
  rates: Mapping[str, jax.Array],
  batches: jax.Array,
  num_steps: int,
  keys: jax.Array,
  top: Top | None = None,
) -> tuple[Any, Any]:
  """Plays one game per draw.

  Args:
    game: what is played.
    inputs: of the discriminator.
    majority: x float32 `[M, R]`, shared by the draws.
    minority: of D draws.
    starts: the discriminators', leaves `[D, ...]`.
    rates: `learning_rate` `[D]` of both players' Adam, and of penalties `pull` and
      `consistency` `[D]`.
    batches: majority images of each step, int `[at least num_steps, B]`.
    num_steps: how many are played.
    keys: `[D]`, of the generators' first weights. What is drawn in a step is the
      same for all draws.
    top: what makes x of generated boundary activations, where there are such.

  Returns:
    The discriminators after the last step, and their moving average over steps.
  """
  return _play_draws(
    game, inputs, majority, minority, starts, dict(rates), batches, num_steps, keys, top
  )


@jax.jit(static_argnums=0)
def _play_draws(
  game, inputs, majority, minority, starts, rates, batches, num_steps, keys, top
):
  of_majority = inputs(majority)

  def play(minority, start, rates, key):
    steps = batches, num_steps
    return _play(game, inputs, of_majority, minority, start, rates, steps, key, top)

  return jax.vmap(play)(minority, starts, rates, keys)


def _play(game, inputs, of_majority, minority, start, rates, steps, key, top):
  batches, num_steps = steps
  number, num_features = minority.x.shape
  optimiser = optax.scale_by_adam()
  players = {'discriminator': start}
  if game.generated:
    made_of = minority.boundary if game.boundary else minority.x
    players['generator'] = make_generator(key, made_of.shape[-1])

  def step(index, carry):
    players, moments, average = carry
    batch = batches[index]
    step_key = jax.random.fold_in(jax.random.key(0), index)
    which_key, noise_key = jax.random.split(step_key)
    size = min(number, MOST_MINORITY)
    which = jax.random.permutation(which_key, number)[:size]
    noise = NOISE * jax.random.normal(noise_key, (size, num_features))
    images = jax.tree.map(lambda a: a[which], minority)
    gradients = jax.grad(objective)(
      players, game, inputs, of_majority[batch], images, noise, start, rates, top
    )
    updates, moments = optimiser.update(gradients, moments)
    updates = jax.tree.map(lambda u: -rates['learning_rate'] * u, updates)
    players = optax.apply_updates(players, updates)
    average = optax.incremental_update(
      players['discriminator'], average, 1 - AVERAGE_DECAY
    )
    return players, moments, average

  carry = players, optimiser.init(players), start
  players, _, average = jax.lax.fori_loop(0, num_steps, step, carry)
  return players['discriminator'], average


def objective(
  players: Mapping[str, Params],
  game: Game,
  inputs: Inputs,
  of_majority: jax.Array,
  minority: Minority,
  noise: jax.Array,
  start: Params,
  rates: Mapping[str, jax.Array],
  top: Top | None = None,
) -> jax.Array:
  """The sum of both players' losses, none with a gradient for the other.

  Real and generated minority together weigh as much as the majority, so a score of
  0 stays where both are equally likely.
  """
  own = players['discriminator']
  loss = losses.majority_loss(score(own, of_majority)).mean()
  of_minority = []
  if game.generated:
    made = inputs(_generate_x(players['generator'], game, minority, top))
    scores = score(own, jax.lax.stop_gradient(made))
    of_minority.append(losses.generated_loss(scores).mean())
    # The generator takes the discriminator as given.
    scores = score(jax.lax.stop_gradient(own), made)
    loss += losses.generator_loss(scores).mean()
  scores = score(own, inputs(minority.x))
  if game.real:
    # The target of real minority images is that of generated ones.
    of_minority.append(losses.generated_loss(scores).mean())
  loss += sum(of_minority) / len(of_minority)
  if game.penalised:
    nearby = score(own, inputs(minority.x + noise))
    moved = own['weights'] - start['weights']
    loss += rates['consistency'] * jnp.mean((scores - nearby) ** 2)
    loss += rates['pull'] * jnp.sum(moved**2) / 2
  return loss


def _generate_x(generator, game, minority, top):
  if not game.boundary:
    return generate(generator, minority.x)
  return top(generate(generator, minority.boundary))


def score_draws(params: Params, inputs: Inputs, x: jax.Array) -> np.ndarray:
  """Scores `[D, N]` of x `[N, R]` by each draw's discriminator."""
  return np.asarray(_score_draws(params, inputs, x))


@jax.jit
def _score_draws(params, inputs, x):
  return jax.vmap(score, in_axes=(0, None))(params, inputs(x))


def make_batches(num_majority: int, num_steps: int) -> np.ndarray:
  """Majority images int `[num_steps, B]`: epochs in a fresh order, one by one."""
  size = min(BATCH_SIZE, num_majority)
  rng = np.random.default_rng(0)
  num_epochs = -(-num_steps * size // num_majority)
  order = [rng.permutation(num_majority) for _ in range(num_epochs)]
  return np.concatenate(order)[: num_steps * size].reshape(num_steps, size)
