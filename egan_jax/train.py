"""One run, top to bottom: data, states, epochs, evaluation, checkpoints, report.

Everything below this file takes the arrays and scalars it needs; configs stop
here.
"""

import contextlib
import dataclasses
import functools
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import logging
from tqdm import tqdm

from egan_jax import backbones, pretrained, steps, workdir
from egan_jax import config as egan_config
from egan_jax import state as egan_state
from egan_jax.checkpoints import Checkpoints
from egan_jax.data import sources
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.data.draws import Draws, draw
from egan_jax.data.two_classes import TwoClasses
from egan_jax.evaluation import epoch_records, nash
from egan_jax.reporting import report, run_files, tensorboard
from egan_jax.reporting.environment import describe_environment
from egan_jax.state import GameState, Player

# Only bounds memory; every test image is scored whatever it is.
_SCORE_BATCH_SIZE = 512


@dataclasses.dataclass(frozen=True)
class Game:
  """The two players and what they are fed: boundary activations, made once.

  Attributes:
    generator: what the generator is made of.
    discriminator: what the discriminator is made of.
    minority: the generator's activations of every fold's images, `[F, n, ...]`.
    majority: the discriminator's, `[M, ...]`.
    test: the discriminator's, `[T, ...]`.
    is_minority: bool `[T]`.
  """

  generator: Player
  discriminator: Player
  minority: steps.Boundary
  majority: steps.Boundary
  test: steps.Boundary
  is_minority: np.ndarray


def train_and_evaluate(config: ml_collections.ConfigDict, folder: str) -> dict:
  """Trains all folds of a config and evaluates them after every epoch.

  The same call on the same folder resumes a run that was stopped, and returns the
  summary of one that is finished.

  Args:
    config: as of `config.default`.
    folder: the workdir; whatever the run writes goes there.

  Returns:
    The summary, as in summary.json.

  Raises:
    UserError: bad input, or a loss that is not finite.
  """
  config = config.to_dict()
  folder = Path(folder).absolute()
  egan_config.check(config)
  workdir.check(folder, config)
  if (finished := workdir.read_summary(folder)) is not None:
    return finished

  seconds = defaultdict(float)
  with _timed(seconds, 'setup'):
    images, draws = _load_images(config)
    game = _set_up(config, images, draws)
    keys = _make_fold_keys(config['seed'], config['num_folds'])
    create = functools.partial(
      egan_state.create_game_state,
      generator=game.generator,
      discriminator=game.discriminator,
      learning_rate=config['learning_rate'],
      dropout_rate=config['dropout_rate'],
      head_activation=config['head_activation'],
    )
    states = jax.block_until_ready(jax.jit(jax.vmap(create))(keys))
  workdir.begin(folder, config, _describe_draws(images, draws))
  fingerprints = {
    'generator': game.generator.fingerprint,
    'discriminator': game.discriminator.fingerprint,
  }
  with Checkpoints(folder / workdir.CHECKPOINTS, fingerprints) as checkpoints:
    states, first_epoch = checkpoints.restore(states)
    states, scores = _train(
      config, folder, game, states, keys, first_epoch, checkpoints, seconds
    )

  records = run_files.read_records(folder / workdir.METRICS)
  summary = {
    'parameters': _count_parameters(jax.eval_shape(create, keys[0]), game),
    'weights_sha256': fingerprints,
    **report.summarise(records, config['nash_threshold'], config['stop_at_nash']),
    'resumed_from_epoch': first_epoch,  # the seconds are of this session alone
    'seconds': {name: round(seconds[name], 3) for name in _PHASES},
    'environment': describe_environment(),
  }
  report.draw_figures(
    folder / workdir.FIGURES,
    records,
    scores,
    images.test_is_minority,
    images.minority[draws.minority],
    _generate(states, game.minority),
    summary['protocols']['honest']['label'],
  )
  report.write_scores(
    folder / workdir.SCORES, scores, images.test_is_minority, images.test_indices
  )
  # Last: a workdir with a summary is a finished run.
  run_files.write_json(folder / workdir.SUMMARY, summary)
  return summary


_PHASES = ('setup', 'compile', 'train', 'evaluate')


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str):
  start = time.perf_counter()
  yield
  seconds[phase] += time.perf_counter() - start


def _load_images(config: dict) -> tuple[TwoClasses, Draws]:
  images = sources.load(
    config['dataset'],
    config['data_dir'],
    config['minority_class'],
    config['majority_class'],
  )
  draws = draw(
    config['seed'],
    config['num_folds'],
    config['num_minority'],
    config['num_majority'],
    len(images.minority),
    len(images.majority),
  )
  return images, draws


def _set_up(config: dict, images: TwoClasses, draws: Draws) -> Game:
  """Loads weights and runs the frozen trunks over all real images."""
  load = functools.cache(pretrained.load)
  generator = _make_player(config, 'generator', load)
  discriminator = _make_player(config, 'discriminator', load)
  drawn = compute_boundary_activations(
    generator.trunk, images.minority[draws.minority.ravel()]
  )
  return Game(
    generator=generator,
    discriminator=discriminator,
    minority=jax.tree.map(
      lambda a: a.reshape(*draws.minority.shape, *a.shape[1:]), drawn
    ),
    majority=compute_boundary_activations(
      discriminator.trunk, images.majority[draws.majority]
    ),
    test=compute_boundary_activations(discriminator.trunk, images.test),
    is_minority=images.test_is_minority,
  )


def _split_seed(seed: int) -> dict[str, jax.Array]:
  """Rng keys of each network's random weights and of the folds."""
  names = 'generator', 'discriminator', 'folds'
  return dict(zip(names, jax.random.split(jax.random.key(seed), 3), strict=True))


def _make_player(config: dict, role: str, load: Callable) -> Player:
  return egan_state.make_player(
    backbones.get(config[f'{role}_backbone']),
    config[f'{role}_weights'],
    config['fine_tune_layers'],
    config['preprocess'],
    config['image_size'],
    _split_seed(config['seed'])[role],
    load=load,
  )


def _make_fold_keys(seed: int, num_folds: int) -> jax.Array:
  """Keys `[F]`; a fold's does not depend on how many there are."""
  key = _split_seed(seed)['folds']
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_folds))


def _train(
  config: dict,
  folder: Path,
  game: Game,
  states: GameState,
  keys: jax.Array,
  first_epoch: int,
  checkpoints: Checkpoints,
  seconds: dict[str, float],
) -> tuple[GameState, np.ndarray]:
  """Trains after `first_epoch` to the end; the states and scores `[F, T]`."""
  logging.info('training from epoch %d', first_epoch + 1)
  metrics_file = folder / workdir.METRICS
  run_files.truncate_records(metrics_file, first_epoch)
  records = run_files.read_records(metrics_file)
  active = _find_active_folds(config, records)
  epochs = range(first_epoch + 1, config['num_epochs'] + 1)
  bar = tqdm(epochs, desc='compiling', unit='epoch', disable=None)
  with _timed(seconds, 'compile'):
    train_epoch, score = _compile(game, states, keys, config['batch_size'])
  with _timed(seconds, 'evaluate'):
    scores = np.array(score(states.discriminator))

  bar.set_description('training')
  with contextlib.closing(tensorboard.open_writer(folder, first_epoch + 1)) as writer:
    for epoch in bar:
      if not active.any():
        break
      with _timed(seconds, 'train'):
        states, terms = jax.block_until_ready(train_epoch(states, active))
      with _timed(seconds, 'evaluate'):
        scores = np.array(score(states.discriminator))
        epoch_records.check_finite(epoch, active, terms, scores)
        new = epoch_records.make_records(epoch, active, terms, scores, game.is_minority)
      run_files.append_records(metrics_file, new)
      tensorboard.write_epoch(writer, new)
      records += new
      active = _find_active_folds(config, records)
      last = epoch == epochs[-1] or not active.any()
      if last or epoch % config['checkpoint_every'] == 0:
        checkpoints.save(epoch, states)
      bar.set_postfix_str(epoch_records.describe_progress(new))
  return states, scores


def _compile(game: Game, states: GameState, keys: jax.Array, batch_size: int):
  """Compiles one epoch and one evaluation of all folds, ahead of time."""
  active = jnp.ones(len(keys), bool)
  trunk, majority, minority = game.discriminator.trunk, game.majority, game.minority
  train_epoch = (
    jax.jit(steps.train_folds_epoch, static_argnames='batch_size', donate_argnums=0)
    .lower(states, active, trunk, majority, minority, keys, batch_size=batch_size)
    .compile()
  )
  score = (
    jax.jit(steps.score_folds, static_argnames='batch_size')
    .lower(states.discriminator, game.test, batch_size=_SCORE_BATCH_SIZE)
    .compile()
  )
  return (
    lambda states, active: train_epoch(states, active, trunk, majority, minority, keys),
    lambda discriminators: score(discriminators, game.test),
  )


def _find_active_folds(config: dict, records: list[dict]) -> np.ndarray:
  """Bool `[F]`: the folds that train on."""
  active = np.ones(config['num_folds'], bool)
  if config['stop_at_nash'] and records:
    epochs = nash.find_nash_epochs(records, config['nash_threshold'])
    active = np.array([epoch is None for epoch in epochs])
  return active


def _generate(states: GameState, minority: steps.Boundary) -> np.ndarray:
  """Images `[F, n, 32, 32, 3]` as the discriminators saw them in the last step."""
  generators = states.generator
  images, _ = jax.jit(jax.vmap(steps.generate))(generators, generators.params, minority)
  return np.asarray(images)


def _count_parameters(state: GameState, game: Game) -> dict:
  return {
    'generator': egan_state.count_parameters(state.generator, game.generator),
    'discriminator': egan_state.count_parameters(
      state.discriminator, game.discriminator
    ),
  }


def _describe_draws(images: TwoClasses, draws: Draws) -> dict:
  """Which images the run uses: their indices in the data set's own splits."""
  return {
    'minority': images.minority_indices[draws.minority],
    'majority': images.majority_indices[draws.majority],
    'test': images.test_indices,
  }
