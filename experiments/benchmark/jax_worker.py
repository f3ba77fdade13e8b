"""Ours, as a process to time: the same requests as `keras_reference` answers.

  python -m experiments.benchmark.jax_worker

What differs: an epoch and an evaluation are of all folds, `setup` takes
`weights_output`, the file to write one fold's weights to, and there are two more:

  {"command": "compile"}
      Compiles the epoch and the evaluation, which are otherwise compiled when first
      asked for; answers `seconds`, tracing included.
  {"command": "boundary"}
      Answers `names`, those of the tensors that cross the cut.

`setup` answers `activation_seconds` as well: the frozen layers' one pass over all
real images, which a run pays once.
"""

import functools
import time
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from egan_jax import backbones, compiled_steps, parallel, steps
from egan_jax import state as egan_state
from egan_jax.backbones import graph
from egan_jax.backbones.trunk import fit_chunks
from egan_jax.data.activation_cache import compute_boundary_activations
from experiments.benchmark.processes import serve

_FINE_TUNE_LAYERS = 5


class Game:
  """All folds' states, and activations of all images."""

  def __init__(
    self,
    images: str,
    weights_output: str | None = None,
    backbone: str = 'DenseNet121',
    image_size: int = 32,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    dropout_rate: float = 0.2,
    trunk_dtype: str = 'float32',
  ):
    """Loads, computes activations and makes the states; compiles no step.

    Args:
      images: the .npz file of images.
      weights_output: where the first fold's weights go, for the peer.
      backbone: of both networks.
      image_size: side of the images the backbones see.
      batch_size: majority images per step.
      learning_rate: of Adam, for both networks.
      dropout_rate: before the discriminator's last unit.
      trunk_dtype: as of `make_player`.
    """
    self._batch_size = batch_size
    arrays = np.load(images)
    keys = jax.random.split(jax.random.key(0), 3)
    generator, discriminator = (
      egan_state.make_player(
        backbones.get(backbone),
        'none',
        _FINE_TUNE_LAYERS,
        'scale',
        image_size,
        key,
        trunk_dtype=trunk_dtype,
      )
      for key in keys[:2]
    )
    minority = arrays['minority']
    start = time.perf_counter()
    self._minority = jax.tree.map(
      lambda a: np.asarray(a).reshape(*minority.shape[:2], *a.shape[1:]),
      compute_boundary_activations(
        generator.trunk, minority.reshape(-1, *minority.shape[2:])
      ),
    )
    self._majority, self._test = (
      compute_boundary_activations(discriminator.trunk, arrays[name])
      for name in ('majority', 'test')
    )
    self.activation_seconds = time.perf_counter() - start
    self._trunk = discriminator.trunk
    self._keys = jax.random.split(keys[2], len(minority))
    create = functools.partial(
      egan_state.create_game_state,
      generator=generator,
      discriminator=discriminator,
      learning_rate=learning_rate,
      dropout_rate=dropout_rate,
    )
    self._layout = parallel.lay_out(len(minority))
    states = jax.jit(jax.vmap(create))(self._keys)
    if weights_output:
      players = {'generator': generator, 'discriminator': discriminator}
      _write_weights(weights_output, states, players)
    self._states = self._layout.split(states)

  def train_step(self, batch: list[int], fold: int) -> dict[str, float]:
    """The loss terms of one step of one fold."""
    own = jax.tree.map(lambda a: a[fold], (self._states, self._minority))
    step = jax.jit(steps.train_step)
    state, sums = step(
      own[0],
      self._trunk,
      jax.tree.map(lambda a: a[np.array(batch)], self._majority),
      jnp.ones(len(batch), bool),
      own[1],
      self._keys[fold],
    )
    self._states = jax.tree.map(
      lambda all_folds, one: all_folds.at[fold].set(one), self._states, state
    )
    return {name: float(total / count) for name, (total, count) in sums.items()}

  @functools.cached_property
  def _epoch(self):
    return compiled_steps.compile_epoch(
      self._layout,
      self._states,
      self._trunk,
      self._majority,
      self._minority,
      self._keys,
      self._batch_size,
      fit_chunks(self._trunk),
    )

  @functools.cached_property
  def _score(self):
    return compiled_steps.compile_score(
      self._layout, self._states.discriminator, self._test
    )

  def compile(self) -> None:
    """Compiles the epoch and the evaluation."""
    _ = self._epoch, self._score

  def train_epoch(self) -> dict[str, list[float]]:
    """The mean of each loss term over an epoch's examples, by fold."""
    active = np.ones(len(self._keys), bool)
    self._states, terms = self._epoch(self._states, active)
    return {
      name: values.tolist() for name, values in self._layout.gather(terms).items()
    }

  def count_trunk_operations(self) -> float:
    """Of an epoch: the trunk forward and backward on all generated images.

    Backward to the images costs as many products as forward. Counted of the program
    for a CPU: JAX tells no other backend's.
    """
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    trunk = jax.eval_shape(lambda: self._trunk)
    with jax.default_device('cpu'):
      forward = jax.jit(lambda trunk, images: trunk(images)).lower(trunk, images)
    num_majority = len(jax.tree.leaves(self._majority)[0])
    num_folds, num_minority = jax.tree.leaves(self._minority)[0].shape[:2]
    num_images = -(-num_majority // self._batch_size) * num_folds * num_minority
    return 2 * num_images * forward.cost_analysis()['flops']

  def score(self) -> np.ndarray:
    """Scores `[F, T]` of the test images."""
    return self._layout.gather(self._score(self._states.discriminator))


def _write_weights(path: str, states, players) -> None:
  """As `keras_networks` describes it."""
  variables = {
    name: {
      'trunk': player.trunk.variables,
      'params': jax.tree.map(lambda a: a[0], getattr(states, name).params),
      'batch_stats': jax.tree.map(lambda a: a[0], getattr(states, name).batch_stats),
    }
    for name, player in players.items()
  }
  np.savez(path, **flax.traverse_util.flatten_dict(variables, sep='/'))


@functools.cache
def make_trunk(
  backbone: str, image_size: int, batch_size: int, backward: bool, dtype: str
):
  """A compiled function that runs the trunk on a random batch of its own."""
  player = egan_state.make_player(
    backbones.get(backbone),
    'none',
    _FINE_TUNE_LAYERS,
    'scale',
    image_size,
    jax.random.key(0),
    trunk_dtype=dtype,
  )
  images = jax.random.uniform(
    jax.random.key(0), (batch_size, image_size, image_size, 3)
  )

  def run_backward(trunk, images):
    return jax.grad(lambda images: sum(map(jnp.sum, trunk(images).values())))(images)

  run = run_backward if backward else lambda trunk, images: trunk(images)
  function = jax.jit(run).lower(player.trunk, images).compile()
  jax.block_until_ready(function(player.trunk, images))
  return lambda: jax.block_until_ready(function(player.trunk, images))


class Worker:
  """Answers requests: a method for each command."""

  def __init__(self):
    self._game: Game | None = None

  def setup(self, **arguments: Any) -> dict:
    """A new game instead of the old one."""
    self._game = None
    jax.clear_caches()
    seconds, self._game = _time(lambda: Game(**arguments))
    return {
      'seconds': seconds,
      'activation_seconds': self._game.activation_seconds,
    }

  def losses(self, batches: list[list[int]], fold: int = 0) -> dict:
    """A step per batch."""
    return {'losses': [self._game.train_step(batch, fold) for batch in batches]}

  def compile(self) -> dict:
    """The epoch and the evaluation."""
    seconds, _ = _time(self._game.compile)
    return {'seconds': seconds}

  def epoch(self) -> dict:
    """A training epoch of all folds."""
    seconds, losses = _time(self._game.train_epoch)
    return {'seconds': seconds, 'losses': losses}

  def evaluate(self) -> dict:
    """The test images, by all folds."""
    seconds, scores = _time(self._game.score)
    return {'seconds': seconds, 'scores': scores.tolist()}

  def trunk(
    self,
    image_size: int,
    batch_size: int,
    backward: bool = False,
    repeats: int = 1,
    backbone: str = 'DenseNet121',
    dtype: str = 'float32',
  ) -> dict:
    """A trunk alone."""
    run = make_trunk(backbone, image_size, batch_size, backward, dtype)
    return {'seconds': [_time(run)[0] for _ in range(repeats)]}

  def boundary(self, backbone: str = 'DenseNet121') -> dict:
    """The tensors that cross the cut."""
    layers = backbones.get(backbone).layers
    return {'names': graph.boundary_names(layers, len(layers) - _FINE_TUNE_LAYERS)}


def _time(function) -> tuple[float, Any]:
  start = time.perf_counter()
  result = function()
  return time.perf_counter() - start, result


if __name__ == '__main__':
  serve(Worker())
