"""One run, top to bottom: data, method, decisions, evaluation, what it leaves.

Here the config ends: its stages, `game`, `outcome` and `results`, are told what concerns
them, in `settings`.
"""

import contextlib
import functools
import os
import time
from pathlib import Path

import ml_collections
import numpy as np

from egan_jax import config as egan_config
from egan_jax import game, hosts, outcome, results, workdir
from egan_jax import settings as egan_settings
from egan_jax.data import activation_files, data_report, labelled_files, sources
from egan_jax.data.activation_cache import ActivationCache
from egan_jax.data.draws import Draws, draw, repeat_with_seeds
from egan_jax.data.two_classes import TwoClasses
from egan_jax.errors import UserError
from egan_jax.game_setup import make_keys
from egan_jax.settings import DataSettings


def train_and_evaluate(
  config: ml_collections.ConfigDict, folder: str, profile: str | None = None
) -> dict:
  """Fits the method of a config on every fold and evaluates its decisions.

  The same call on the same folder resumes a run that was stopped, and returns the
  summary of one that is finished. Every host makes it; the first one writes.

  Args:
    config: as of `config.default`.
    folder: the workdir; whatever the run writes goes there.
    profile: a folder for a `jax.profiler` trace of one epoch of the game, the second
      of this session if there are two.

  Returns:
    The summary, as in summary.json.

  Raises:
    UserError: bad input, or a loss that is not finite; on all hosts.
  """
  config = config.to_dict()
  folder = Path(folder).absolute()
  hosts.check_same('config', config)
  egan_config.check(config)
  settings = egan_settings.from_config(config)
  if settings.decision.plays:
    _check_name(folder)
  elif profile:
    raise UserError('--profile: this method plays no game, and only that is profiled')
  if (finished := hosts.on_first(lambda: _find_finished(folder, config))) is not None:
    if hosts.is_first():
      print(
        f'{folder} holds this run, finished: nothing is computed. If the images have'
        ' changed since, choose another workdir.\n'
      )
    return finished

  start = time.perf_counter()
  with hosts.together():
    _check_place(folder, settings.data)
    if profile:
      _make_profile_folder(Path(profile))
    images = _load_images(settings.data, settings.networks.image_size)
    draws = _draw(settings.data, images)
    if images.report is not None and hosts.is_first():
      print(f'{data_report.describe(images.report)}\n{_describe_use(images, draws)}\n')
    if settings.decision.plays:
      _check_test_images(images)
    outcome.check_draws(settings.decision, draws)
    trained_on, held_out = outcome.hold_out(settings.decision, draws)
  loading = time.perf_counter() - start
  used = _describe_draws(images, trained_on, held_out.majority)
  if settings.decision.plays:  # a game may be resumed
    used['sha256'] = images.fingerprint()
  hosts.check_same('images', used)
  cache = ActivationCache(
    activation_files.default_folder(), config['activation_memory_share']
  )
  with contextlib.ExitStack() as held:

    def begin() -> None:
      held.enter_context(workdir.hold(folder))
      workdir.begin(folder, config, used)

    played = None
    if settings.decision.plays:
      data = settings.data
      played = game.play(
        settings.game,
        settings.networks,
        images,
        trained_on,
        make_keys(data.seed, data.num_seeds, data.num_folds),
        cache,
        folder,
        begin,
        profile,
      )

    def finish() -> dict:
      if played is None:
        begin()
      reached = outcome.reach(settings, images, draws, cache, held_out, played, loading)
      with workdir.explain_errors(folder):
        results.write(folder, settings, images, draws, reached, played)
      return workdir.read_summary(folder)

    return hosts.on_first(finish)


def _check_place(folder: Path, data: DataSettings) -> None:
  """Raises `UserError` if figures would be among the images of a later start."""
  if data.dataset != 'folder':
    return
  for split in labelled_files.SPLITS:
    # Unlike pathlib's, these fail for no name there can be.
    of_images = os.path.join(os.path.expanduser(data.data_dir), split)
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(of_images)):
      raise UserError(
        f'workdir {folder} is in {of_images}, and its figures would be taken for'
        ' images: choose another workdir'
      )


def _check_name(folder: Path) -> None:
  """Orbax, which keeps a game's checkpoints, takes names in UTF-8 only."""
  try:
    str(folder).encode()
  except UnicodeEncodeError as error:
    raise UserError(
      f'workdir {folder}: checkpoints need a name in UTF-8: choose another workdir'
    ) from error


def _find_finished(folder: Path, config: dict) -> dict | None:
  """The summary of a run that is finished, if the workdir may be used at all."""
  workdir.check(folder, config)
  return workdir.read_summary(folder)


def _make_profile_folder(folder: Path) -> None:
  """Or else the profiler would say after an epoch, in a traceback, that it cannot."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'--profile={folder} cannot be made: {error.strerror}') from error
  if not os.access(folder, os.W_OK | os.X_OK):
    raise UserError(f'--profile={folder}: no permission to write to it')


def _load_images(data: DataSettings, image_size: int) -> TwoClasses:
  return sources.load(
    data.dataset,
    data.data_dir,
    data.minority_class,
    data.majority_class,
    image_size=image_size,
    seed=data.seed,
    strict=data.strict,
  )


def _draw(data: DataSettings, images: TwoClasses) -> Draws:
  """The images that are used; 0 stands for all there are."""
  draw_one = functools.partial(
    draw,
    num_folds=data.num_folds,
    num_minority=data.num_minority or max(1, len(images.minority) // data.num_folds),
    num_majority=data.num_majority or len(images.majority),
    minority_available=len(images.minority),
    majority_available=len(images.majority),
  )
  return repeat_with_seeds(draw_one, data.seed, data.num_seeds)


def _describe_use(images: TwoClasses, draws: Draws) -> str:
  """How many of a folder's training images the run uses, as a line of its report."""
  folds, num_minority = draws.minority.shape
  each = '' if folds == 1 else f' in each of {folds} folds'
  return (
    f'  used for training: {num_minority} of {images.minority_class}{each} and'
    f' {len(draws.majority)} of {images.majority_class}'
  )


def _check_test_images(images: TwoClasses) -> None:
  """The game is evaluated after every epoch; a rival can do without."""
  missing = ' and '.join(images.missing_from_test)
  if missing:
    raise UserError(
      f'egan is evaluated after every epoch and there are no test images of {missing}:'
      ' add them, or choose a method that does without, such as config.method=plda_knn'
    )


def _describe_draws(images: TwoClasses, draws: Draws, held_out: np.ndarray) -> dict:
  """Which images the run uses: their indices in the data set's own splits."""
  return {
    'minority': images.minority_indices[draws.minority],
    'majority': images.majority_indices[draws.majority],
    'held_out_majority': images.majority_indices[held_out],
    'test': images.test_indices,
  }
