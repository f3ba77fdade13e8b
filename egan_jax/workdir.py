"""The folder of one run: may it be used, and what stands in it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from egan_jax import run_files
from egan_jax.errors import UserError

CONFIG = 'config.json'
DRAWS = 'draws.json'
METRICS = 'metrics.jsonl'
SCORES = 'scores.npz'
SUMMARY = 'summary.json'
CHECKPOINTS = 'checkpoints'
FIGURES = 'figures'
MODEL = 'model'
REPORT = 'report.html'


# Where and how fast a run is computed, not what it is; they may change on resuming.
PLACEMENT = {'majority_devices', 'images_at_once', 'activation_memory_share'}


def check(workdir: Path, config: Mapping[str, Any]) -> None:
  """Checks, without touching anything, that a run with `config` may use a folder.

  Raises:
    UserError: it cannot be written to, or it holds another config's run that has
      come to something, or files of something else.
  """
  try:
    holds_config = _check_folder(workdir)
  except OSError as error:
    raise UserError(f'workdir {workdir} cannot be used: {error.strerror}') from error
  if not holds_config:
    return
  if run_files.list_names(workdir) <= {CONFIG, DRAWS}:
    return  # nothing was computed yet: bad input may have stopped it
  held = run_files.read_json(workdir / CONFIG)
  differing = sorted(
    field
    for field in {*held, *config} - PLACEMENT
    if held.get(field) != config.get(field)
  )
  if differing:
    field = differing[0]
    raise UserError(
      f'workdir {workdir} holds a run with another config ({", ".join(differing)}:'
      f' {field} is {held.get(field)!r} there and {config.get(field)!r} now): choose'
      ' another workdir'
    )


def _check_folder(workdir: Path) -> bool:
  """Whether it holds a config; if it does not it must be empty or not exist."""
  existing = workdir
  while not existing.exists():
    existing = existing.parent
  if not existing.is_dir():
    raise UserError(f'workdir {workdir}: {existing} is not a folder')
  if not os.access(existing, os.W_OK | os.X_OK):
    raise UserError(f'workdir {workdir}: no permission to write to {existing}')
  if existing != workdir:
    return False
  if (workdir / CONFIG).exists():
    return True
  if run_files.list_names(workdir):
    raise UserError(f'workdir {workdir} holds other files: choose an empty folder')
  return False


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
  """Creates the folder and keeps other processes from running in it meanwhile.

  Some file systems (NFS) lock no folders; there nothing keeps them.

  Raises:
    UserError: one does, or it cannot be written to.
  """
  with explain_errors(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(workdir, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):
      if not run_files.try_lock(descriptor):
        raise UserError(
          f'workdir {workdir}: another run is in it now: wait for its end, or choose'
          ' another workdir'
        )
    yield
  finally:
    os.close(descriptor)


def begin(workdir: Path, config: Mapping[str, Any], draws: Mapping[str, Any]) -> None:
  """Checks the folder again, which is held, and writes what is known before training.

  Raises:
    UserError: it cannot be written to; meanwhile it came to hold another config's run;
      or it holds a run that trained on other images.
  """
  check(workdir, config)
  if (workdir / METRICS).exists() and not run_files.holds(workdir / DRAWS, draws):
    raise UserError(
      f'workdir {workdir} holds a run that began with other images: bring them back, or'
      ' choose another workdir'
    )
  with explain_errors(workdir):
    # First, because a folder that holds files and no config is not taken.
    run_files.write_json(workdir / CONFIG, config)
    run_files.write_json(workdir / DRAWS, draws)


@contextlib.contextmanager
def explain_errors(workdir: Path) -> Iterator[None]:
  """Raises `UserError` for an `OSError` inside, as of a full disk."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f'workdir {workdir} cannot be written to ({error}): mend that, and the same'
      ' command goes on'
    ) from error


def read_summary(workdir: Path) -> dict | None:
  """The summary of a finished run, else None.

  Raises:
    UserError: it is damaged.
  """
  path = workdir / SUMMARY
  return run_files.read_json(path) if path.exists() else None


def describe_files(workdir: str | os.PathLike) -> str:
  """Where a finished run's files are, a line each."""
  workdir = Path(workdir)
  files = {
    'report': REPORT,
    'model': MODEL,
    'summary': SUMMARY,
    'metrics per epoch': METRICS,
    'test scores': SCORES,
    'images used': DRAWS,
    'figures': FIGURES,
    'checkpoints': CHECKPOINTS,
  }
  return '\n'.join(
    f'{what:>17}: {workdir / name}'
    for what, name in files.items()
    if (workdir / name).exists()
  )
