"""The game of a run: all folds trained and evaluated, epoch after epoch."""

import contextlib
import dataclasses
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from egan_jax import hosts, workdir
from egan_jax import state as egan_state
from egan_jax.backbones.trunk import fit_chunks
from egan_jax.checkpoints import Checkpoints
from egan_jax.compiled_steps import (
  compile_choose,
  compile_epoch,
  compile_score,
  compile_score_fed,
  generate,
)
from egan_jax.data.activation_cache import ActivationCache
from egan_jax.data.draws import Draws
from egan_jax.data.two_classes import TwoClasses
from egan_jax.epoch_log import EpochLog
from egan_jax.evaluation import epoch_choice, epoch_records, nash
from egan_jax.evaluation.protocols import find_decision_epochs
from egan_jax.game_setup import Game, set_up
from egan_jax.parallel import ROWS, Layout, lay_out
from egan_jax.settings import GameSettings, NetworkSettings
from egan_jax.state import GameState, NetworkState, Player

PHASES = ('setup', 'compile', 'train', 'evaluate', 'checkpoint')


@dataclasses.dataclass(frozen=True)
class Played:
  """What is left of a game when it is over, on every host.

  Attributes:
    player: what the discriminator is made of.
    discriminators: those of every fold that decide, leaves `[F, ...]`.
    scores: their test scores, `[F, T]`.
    generated: the last images of every fold, `[F, n, 32, 32, 3]` in [0, 1].
    parameters: how many there are, by network.
    fingerprints: SHA-256 of the backbones' weights before training, by network.
    first_epoch: the epoch that this session resumed from, 0 for none.
    seconds: by phase, of this session.
  """

  player: Player
  discriminators: NetworkState
  scores: np.ndarray
  generated: np.ndarray
  parameters: dict
  fingerprints: dict[str, str]
  first_epoch: int
  seconds: dict[str, float]


def play(
  settings: GameSettings,
  networks: NetworkSettings,
  images: TwoClasses,
  draws: Draws,
  keys: jax.Array,
  cache: ActivationCache,
  folder: Path,
  begin: Callable[[], None],
  profile: str | None = None,
) -> Played:
  """Trains all folds and evaluates them after every epoch.

  Args:
    settings: how to play.
    networks: who plays.
    images: of both classes.
    draws: which of them are used.
    keys: of every fold, as of `game_setup.make_keys`.
    cache: for the activations of real images.
    folder: the workdir, for checkpoints and the log of epochs.
    begin: called by the first host once nothing more can be wrong with the input.
    profile: a folder for a `jax.profiler` trace of one epoch.

  Raises:
    UserError: bad input, or a loss that is not finite; on all hosts.
  """
  seconds = defaultdict(float)
  with _timed(seconds, 'setup'):
    layout = lay_out(len(draws.minority), settings.majority_devices)
    with hosts.together():
      game = set_up(networks, images, draws, cache)
    fingerprints = {
      'generator': game.generator.fingerprint,
      'discriminator': game.discriminator.fingerprint,
    }
    hosts.check_same('weights', fingerprints)
    create = functools.partial(
      egan_state.create_game_state,
      generator=game.generator,
      discriminator=game.discriminator,
      learning_rate=settings.learning_rate,
      dropout_rate=settings.dropout_rate,
      head_activation=settings.head_activation,
    )
    states = layout.jit(jax.vmap(create), in_specs=(ROWS,))(layout.split(keys))
    jax.block_until_ready(states)
  hosts.on_first(begin)
  with Checkpoints(folder / workdir.CHECKPOINTS, fingerprints) as checkpoints:
    with _timed(seconds, 'checkpoint'):
      saved, first_epoch = checkpoints.restore(_shapes(states, len(keys)))
    deciding = None
    if saved is not None:
      states, deciding = layout.split(saved)
    states, deciding, scores = _train(
      settings,
      folder,
      layout,
      game,
      states,
      deciding,
      keys,
      first_epoch,
      checkpoints,
      seconds,
      profile,
    )
    with _timed(seconds, 'checkpoint'):
      checkpoints.wait()
  hosts.enter('after training')
  with _timed(seconds, 'evaluate'):
    generated = generate(layout, states.generator, game.minority)
  return Played(
    player=game.discriminator,
    discriminators=deciding,
    scores=scores,
    generated=generated,
    parameters=_count_parameters(_shapes(states), game),
    fingerprints=fingerprints,
    first_epoch=first_epoch,
    seconds={name: round(seconds[name], 3) for name in PHASES},
  )


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
  start = time.perf_counter()
  yield
  seconds[phase] += time.perf_counter() - start


def _train(
  settings: GameSettings,
  folder: Path,
  layout: Layout,
  game: Game,
  states: GameState,
  deciding: NetworkState | None,
  keys: jax.Array,
  first_epoch: int,
  checkpoints: Checkpoints,
  seconds: dict[str, float],
  profile: str | None,
) -> tuple[GameState, NetworkState, np.ndarray]:
  """Trains after `first_epoch` to the end.

  Returns:
    The states; the discriminators that decide, gathered, and their scores `[F, T]`.
  """
  logging.info('training from epoch %d', first_epoch + 1)
  epochs = range(first_epoch + 1, settings.num_epochs + 1)
  with EpochLog(folder, first_epoch) as log:
    active = _find_active_folds(settings, len(keys), log.records)
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
        settings.batch_size,
        fit_chunks(game.discriminator.trunk, settings.images_at_once),
      )
      score = compile_score(layout, states.discriminator, game.test)
      score_fed = compile_score_fed(
        layout,
        states.discriminator,
        game.minority_to_score,
        jax.tree.map(lambda a: a[: epoch_choice.NUM_FED_SCORED], game.majority),
      )
      choose = compile_choose(layout)

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
        network = states.discriminator
        scores = {'test': score(network), **score_fed(network)}
        terms, scores = layout.gather((terms, scores))
        epoch_records.check_finite(epoch, active, terms, scores)
        new = epoch_records.make_records(epoch, active, terms, scores, game.is_minority)
      log.append(new)
      decides = epoch == find_decision_epochs(
        log.records, stopped_at_nash=settings.stop_at_nash
      )
      if decides.any():  # as in the first epoch everywhere
        # A copy: the next epoch consumes the states.
        deciding = choose(decides, network, network if deciding is None else deciding)
      active = _find_active_folds(settings, len(keys), log.records)
      last = epoch == epochs[-1] or not active.any()
      saves = last or epoch % settings.checkpoint_every == 0
      if saves:
        with _timed(seconds, 'checkpoint'):
          checkpoints.save(epoch, *layout.gather((states, deciding)))
      bar.set_postfix_str(epoch_records.describe_progress(new))
    with _timed(seconds, 'evaluate'):
      deciding, scores = layout.gather((deciding, score(deciding)))
  return states, deciding, scores


def _find_active_folds(
  settings: GameSettings, num_folds: int, records: list[dict]
) -> np.ndarray:
  """Bool `[F]`: the folds that train on."""
  active = np.ones(num_folds, bool)
  if settings.stop_at_nash and records:
    epochs = nash.find_nash_epochs(records, settings.nash_threshold)
    active = np.array([epoch is None for epoch in epochs])
  return active


def _shapes(states: GameState, *num_folds: int) -> GameState:
  """Of the states of so many folds; without a number, of one fold alone."""
  return jax.tree.map(
    lambda a: jax.ShapeDtypeStruct((*num_folds, *a.shape[1:]), a.dtype), states
  )


def _count_parameters(state: GameState, game: Game) -> dict:
  return {
    'generator': egan_state.count_parameters(state.generator, game.generator),
    'discriminator': egan_state.count_parameters(
      state.discriminator, game.discriminator
    ),
  }
