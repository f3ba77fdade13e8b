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

from egan_jax import backbones, hosts, pretrained, steps, workdir
from egan_jax import config as egan_config
from egan_jax import state as egan_state
from egan_jax.checkpoints import Checkpoints
from egan_jax.compiled_steps import compile_epoch, compile_score, generate
from egan_jax.data import activation_files, sources
from egan_jax.data.activation_cache import ActivationCache
from egan_jax.data.draws import Draws, draw
from egan_jax.data.two_classes import TwoClasses
from egan_jax.epoch_log import EpochLog
from egan_jax.evaluation import epoch_records, nash
from egan_jax.parallel import ROWS, Layout, lay_out
from egan_jax.reporting import report, run_files
from egan_jax.reporting.environment import describe_environment
from egan_jax.state import GameState, Player


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


def train_and_evaluate(
  config: ml_collections.ConfigDict, folder: str, profile: str | None = None
) -> dict:
  """Trains all folds of a config and evaluates them after every epoch.

  The same call on the same folder resumes a run that was stopped, and returns the
  summary of one that is finished. Every host makes it; the first one writes.

  Args:
    config: as of `config.default`.
    folder: the workdir; whatever the run writes goes there.
    profile: a folder for a `jax.profiler` trace of one epoch, the second of this
      session if there are two.

  Returns:
    The summary, as in summary.json.

  Raises:
    UserError: bad input, or a loss that is not finite; on all hosts.
  """
  config = config.to_dict()
  folder = Path(folder).absolute()
  hosts.check_same('config', config)
  egan_config.check(config)
  if (finished := hosts.on_first(lambda: _find_finished(folder, config))) is not None:
    return finished

  seconds = defaultdict(float)
  with _timed(seconds, 'setup'):
    layout = lay_out(config['num_folds'], config['majority_devices'])
    with hosts.together():
      images, draws = _load_images(config)
      game = _set_up(config, images, draws)
    fingerprints = {
      'generator': game.generator.fingerprint,
      'discriminator': game.discriminator.fingerprint,
    }
    used = _describe_draws(images, draws)
    hosts.check_same('weights and images', {**fingerprints, **used})
    keys = _make_fold_keys(config['seed'], config['num_folds'])
    create = functools.partial(
      egan_state.create_game_state,
      generator=game.generator,
      discriminator=game.discriminator,
      learning_rate=config['learning_rate'],
      dropout_rate=config['dropout_rate'],
      head_activation=config['head_activation'],
    )
    states = layout.jit(jax.vmap(create), in_specs=(ROWS,))(layout.split(keys))
    jax.block_until_ready(states)
  hosts.on_first(lambda: workdir.begin(folder, config, used))
  with Checkpoints(folder / workdir.CHECKPOINTS, fingerprints) as checkpoints:
    saved, first_epoch = checkpoints.restore(jax.eval_shape(jax.vmap(create), keys))
    if saved is not None:
      states = layout.split(saved)
    states, scores = _train(
      config,
      folder,
      layout,
      game,
      states,
      keys,
      first_epoch,
      checkpoints,
      seconds,
      profile,
    )

  hosts.enter('after training')
  generated = generate(layout, states.generator, game.minority)

  def write_report() -> dict:
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
      generated,
      summary['protocols']['honest']['label'],
    )
    report.write_scores(
      folder / workdir.SCORES, scores, images.test_is_minority, images.test_indices
    )
    # Last: a workdir with a summary is a finished run.
    run_files.write_json(folder / workdir.SUMMARY, summary)
    return workdir.read_summary(folder)

  return hosts.on_first(write_report)


def _find_finished(folder: Path, config: dict) -> dict | None:
  """The summary of a run that is finished, if the workdir may be used at all."""
  workdir.check(folder, config)
  return workdir.read_summary(folder)


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
  cache = ActivationCache(
    activation_files.default_folder(), config['activation_memory_share']
  )
  drawn = cache.compute(generator.trunk, images.minority[draws.minority.ravel()])
  return Game(
    generator=generator,
    discriminator=discriminator,
    minority=jax.tree.map(
      lambda a: a.reshape(*draws.minority.shape, *a.shape[1:]), drawn
    ),
    majority=cache.compute(discriminator.trunk, images.majority[draws.majority]),
    test=cache.compute(discriminator.trunk, images.test),
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
    trunk_dtype=config['trunk_dtype'],
  )


def _make_fold_keys(seed: int, num_folds: int) -> jax.Array:
  """Keys `[F]`; a fold's does not depend on how many there are."""
  key = _split_seed(seed)['folds']
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_folds))


def _train(
  config: dict,
  folder: Path,
  layout: Layout,
  game: Game,
  states: GameState,
  keys: jax.Array,
  first_epoch: int,
  checkpoints: Checkpoints,
  seconds: dict[str, float],
  profile: str | None,
) -> tuple[GameState, np.ndarray]:
  """Trains after `first_epoch` to the end; the states and scores `[F, T]`."""
  logging.info('training from epoch %d', first_epoch + 1)
  epochs = range(first_epoch + 1, config['num_epochs'] + 1)
  with EpochLog(folder, first_epoch) as log:
    active = _find_active_folds(config, log.records)
    hidden = None if hosts.is_first() else True  # None: shown on a terminal
    bar = tqdm(epochs, desc='compiling', unit='epoch', disable=hidden)
    with _timed(seconds, 'compile'):
      train_epoch = compile_epoch(
        layout,
        states,
        game.discriminator.trunk,
        game.majority,
        game.minority,
        keys,
        config['batch_size'],
        # As many pixels, whatever the size of the images.
        max(1, config['images_at_once'] * 32**2 // config['image_size'] ** 2),
      )
      score = compile_score(layout, states.discriminator, game.test)
    with _timed(seconds, 'evaluate'):
      scores = layout.gather(score(states.discriminator))

    bar.set_description('training')
    for epoch in bar:
      if not active.any():
        break
      hosts.enter(f'in epoch {epoch}')
      profiled = profile and epoch == epochs[:2][-1]
      tracing = jax.profiler.trace(profile) if profiled else contextlib.nullcontext()
      with tracing, _timed(seconds, 'train'):
        states, terms = jax.block_until_ready(train_epoch(states, active))
      with _timed(seconds, 'evaluate'):
        terms, scores = layout.gather((terms, score(states.discriminator)))
        epoch_records.check_finite(epoch, active, terms, scores)
        new = epoch_records.make_records(epoch, active, terms, scores, game.is_minority)
      log.append(new)
      active = _find_active_folds(config, log.records)
      last = epoch == epochs[-1] or not active.any()
      if last or epoch % config['checkpoint_every'] == 0:
        checkpoints.save(epoch, layout.gather(states))
      bar.set_postfix_str(epoch_records.describe_progress(new))
  return states, scores


def _find_active_folds(config: dict, records: list[dict]) -> np.ndarray:
  """Bool `[F]`: the folds that train on."""
  active = np.ones(config['num_folds'], bool)
  if config['stop_at_nash'] and records:
    epochs = nash.find_nash_epochs(records, config['nash_threshold'])
    active = np.array([epoch is None for epoch in epochs])
  return active


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
