"""The files of a model: written whole or not at all, and read only if undamaged.

model.json holds a format version, the SHA-256 of every tensor file and that of its
own text without the line that says it. Tensors are safetensors: numbers under names,
nothing that could run.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from egan_jax import run_files, workdir
from egan_jax.errors import UserError

MODEL = 'model.json'
WEIGHTS = 'weights.safetensors'
REFERENCES = 'references.safetensors'
FORMAT = 'egan_jax model'
FORMAT_VERSION = 1

Tensors = Mapping[str, np.ndarray]

_DTYPES = {
  'F32': np.float32,
  'BF16': ml_dtypes.bfloat16,
  'U8': np.uint8,
  'BOOL': np.bool_,
}


class Misfit(Exception):
  """What an undamaged file says, and no model can be."""


def field(content: Any, name: str, kind: type) -> Any:
  """A value of a JSON object, if it is a `kind`, and finite.

  Raises:
    Misfit: it is not, or is missing.
  """
  value = content.get(name) if isinstance(content, dict) else None
  if type(value) is not kind or (kind is float and not math.isfinite(value)):
    raise Misfit(f'{name} is {repr(value)[:40]}')
  return value


def write(
  folder: str | os.PathLike, content: Mapping[str, Any], tensors: Mapping[str, Tensors]
) -> None:
  """Writes a model beside its place, then moves it there.

  A kill before the move leaves what was there before; one between the two renames of
  an overwrite leaves no model in the folder and both whole ones beside it.

  Args:
    folder: where to; a model that is there is replaced.
    content: of model.json, plain JSON. NaN and infinity would become null.
    tensors: by name, by file: WEIGHTS and perhaps REFERENCES.

  Raises:
    UserError: the folder holds something else, or cannot be written to.
  """
  folder = Path(folder).absolute()
  temporary, old = (
    folder.with_name(f'.{folder.name}.{os.getpid()}.{suffix}')
    for suffix in ('tmp', 'old')
  )
  try:
    _check_replaceable(folder)
    _write_files(temporary, content, tensors)
    if folder.exists():
      os.rename(folder, old)
    try:
      os.rename(temporary, folder)
    except OSError:
      if old.exists():
        os.rename(old, folder)
      raise
  except OSError as error:
    raise UserError(f'cannot write a model to {folder}: {error.strerror}') from error
  finally:
    for leftover in (temporary, old):
      shutil.rmtree(leftover, ignore_errors=True)


def list_all(folder: str | os.PathLike) -> list[Path]:
  """What is in the folder of a model and, given a run's workdir, in that.

  Raises:
    UserError: there is no model.
  """
  return [*find(folder).iterdir(), *Path(folder).iterdir()]


def find(folder: str | os.PathLike) -> Path:
  """The folder of a model, given that or the workdir of the run that made it.

  Raises:
    UserError: there is none.
  """
  folder = Path(folder)
  for candidate in (folder, folder / workdir.MODEL):
    if os.path.exists(candidate / MODEL):  # also for names that cannot be
      return candidate
  if not os.path.isdir(folder):
    raise UserError(f'there is no folder {folder}: give that of a model or a run')
  raise UserError(
    f'{folder} holds no {MODEL} and no {workdir.MODEL}/{MODEL}: give the folder of a model, or'
    ' the workdir of a run that is finished'
  )


def read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
  """The content of model.json and the tensors by name, by file.

  Raises:
    UserError: a file is missing, damaged, from elsewhere or from a newer format.
  """
  content = _read_content(folder / MODEL)
  hashes = content.get('files')
  if not isinstance(hashes, dict) or not {WEIGHTS} <= {*hashes} <= {
    WEIGHTS,
    REFERENCES,
  }:
    raise UserError(f'{folder / MODEL} names other tensor files than a model has')
  tensors = {}
  for name, digest in hashes.items():
    data = _read_bytes(folder / name)
    if hashlib.sha256(data).hexdigest() != digest:
      raise UserError(
        f'{folder / name} is damaged or of another model (its SHA-256 is not that in'
        f' {MODEL}): copy the model again'
      )
    tensors[name] = _decode(folder / name, data)
  return content, tensors


def _check_replaceable(folder: Path) -> None:
  if folder.is_dir():
    others = {path.name for path in folder.iterdir()} - {MODEL, WEIGHTS, REFERENCES}
    if not others:
      return
    raise UserError(
      f'{folder} holds other files ({min(others)}): choose another folder'
    )
  if folder.exists():
    raise UserError(f'{folder} is a file: a model is a folder')


def _write_files(
  folder: Path, content: Mapping[str, Any], tensors: Mapping[str, Tensors]
) -> None:
  hashes = {}
  for name, of_file in tensors.items():
    # It would write the memory of an array that is not in C order as it lies.
    data = safetensors.numpy.save(
      {path: np.asarray(array, order='C') for path, array in of_file.items()}
    )
    run_files.write_bytes(folder / name, data)
    hashes[name] = hashlib.sha256(data).hexdigest()
  content = {
    'format': FORMAT,
    'format_version': FORMAT_VERSION,
    'files': hashes,
    **content,
  }
  path = folder / MODEL
  run_files.write_json(path, content)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  run_files.write_json(path, {**content, 'sha256': digest})


def _read_content(path: Path) -> dict[str, Any]:
  data = _read_bytes(path)
  try:
    content = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise UserError(f'{path} is damaged: it is not JSON') from error
  if not isinstance(content, dict) or content.get('format') != FORMAT:
    raise UserError(f'{path} is of something else than an {FORMAT}')
  version = content.get('format_version')
  if type(version) is int and version > FORMAT_VERSION:
    raise UserError(
      f'{path} has format {version} and this egan_jax reads up to {FORMAT_VERSION}:'
      ' install a newer one'
    )
  digest = content.get('sha256')
  unsigned = data.replace(f'  "sha256": "{digest}",\n'.encode(), b'', 1)
  known = type(version) is int and version == FORMAT_VERSION
  if not known or hashlib.sha256(unsigned).hexdigest() != digest:
    raise UserError(f'{path} is damaged or was edited: copy the model again')
  return content


def _read_bytes(path: Path) -> bytes:
  try:
    return path.read_bytes()
  except FileNotFoundError as error:
    raise UserError(f'{path} is missing: copy the model again') from error
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error


def _decode(path: Path, data: bytes) -> dict[str, np.ndarray]:
  """As `safetensors.numpy.load`, which does not know bfloat16."""
  try:
    tensors = {
      name: np.frombuffer(view['data'], _DTYPES[view['dtype']]).reshape(view['shape'])
      for name, view in safetensors.deserialize(data)
    }
  except (safetensors.SafetensorError, KeyError, ValueError) as error:
    raise UserError(
      f'{path} is no file of tensors that a model has: {error}'
    ) from error
  for name, array in tensors.items():
    if array.dtype.kind not in 'bu' and not np.isfinite(array).all():
      raise UserError(f'{path}: {name} holds numbers that are not finite')
  return tensors
