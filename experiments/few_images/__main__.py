"""Decisions from 1, 2, 10 and 100 minority images: the tables of docs/one_rare_image.md.

  python -m experiments.few_images --features_dir=DIR     # after few_images.features
  python -m experiments.few_images --render               # only writes the document

Cells are stored as they come, so a stopped command goes on where it was.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from egan_jax import command_line, feature_extractor, run_files
from egan_jax.errors import UserError
from experiments.few_images import tables
from experiments.few_images.decisions import (
  ONE_CLASS_RIVALS,
  OTHER_RIVALS,
  RIVALS,
  SMOTE,
  run_fusion,
  run_rival,
)
from experiments.few_images.problems import PROBLEMS, Problem

_FEATURES_DIR = flags.DEFINE_string('features_dir', '', 'Of few_images.features.')
_OUTPUT = flags.DEFINE_string(
  'output', str(tables.RESULT), 'Where the results are kept.'
)
_PROBLEMS = flags.DEFINE_list('problems', list(PROBLEMS), 'Which.')
_SIZES = flags.DEFINE_list('sizes', ['224', '96', '32'], 'In pixels.')
_BACKBONES = flags.DEFINE_string(
  'backbones', 'EfficientNetLite0', 'One, or several joined by +.'
)
_MIRRORED = flags.DEFINE_bool(
  'mirrored',
  False,
  'Whether features are the mean of an image and its mirror image.',
)
_DRAWS = flags.DEFINE_integer('draws', 20, 'Of the minority images.')
_SMOTE_DRAWS = flags.DEFINE_integer('smote_draws', 5, 'Of the rival with SMOTE.')
_OTHERS = flags.DEFINE_bool('others', True, 'Whether one-class and kNN rivals run.')
_EXPECTED = flags.DEFINE_bool('expected_f1', True, 'Whether that rule is tried too.')
_RENDER = flags.DEFINE_bool('render', False, 'Only write the document.')


def main() -> None:
  """Measures what is not stored yet and, if nothing fails, writes the document."""
  output, failed = Path(_OUTPUT.value), []
  if not _RENDER.value:
    for size in _SIZES.value:
      for name in _PROBLEMS.value:
        failed += _run_problem(output, name, size)
  if failed:
    raise UserError(f'not measured: {"; ".join(failed)}')
  tables.write(_read(output))


def _read(output: Path) -> dict:
  return json.loads(output.read_text()) if output.exists() else {}


def _run_problem(output: Path, name: str, size: str) -> list[str]:
  """Measures what is not stored of a problem; what could not be, and why."""
  backbones = _BACKBONES.value.split('+')
  try:
    problem = Problem(
      name,
      backbones,
      int(size),
      _FEATURES_DIR.value,
      _MIRRORED.value,
    )
  except FileNotFoundError as error:
    return [str(error)]
  jobs: dict[str, Callable] = {
    'fusion': lambda: run_fusion(
      problem,
      feature_extractor.class_directions(backbones, 'imagenet'),
      _DRAWS.value,
      _EXPECTED.value,
    )
  }
  others = {
    **dict.fromkeys(RIVALS, _DRAWS.value),
    **dict.fromkeys(OTHER_RIVALS, _DRAWS.value if _OTHERS.value else 0),
    **dict.fromkeys(ONE_CLASS_RIVALS, 1 if _OTHERS.value else 0),
    SMOTE: _SMOTE_DRAWS.value,
  }
  for rival, draws in others.items():
    if draws:
      jobs[rival] = lambda rival=rival, draws=draws: run_rival(problem, rival, draws)
  mirrored, failed = ' mirrored' if _MIRRORED.value else '', []
  for method, job in jobs.items():
    keys = f'{name}|{_BACKBONES.value}{mirrored}|{size}'
    if any(key.startswith(f'{keys}|{method}|') for key in _read(output)):
      continue
    try:
      results = job()
    except UserError as error:
      failed.append(f'{keys}|{method}: {error}')
      continue
    # Read again: another process may have stored some meanwhile.
    stored = _read(output)
    for (made, n), rows in results.items():
      stored[f'{keys}|{made}|{n}'] = {
        key: [round(float(row[key]), 5) for row in rows] for key in rows[0]
      }
      means = {key: round(float(np.mean([r[key] for r in rows])), 4) for key in rows[0]}
      print(f'{keys}|{made}|{n}', *means.items(), flush=True)
    run_files.write_text(output, json.dumps(stored, indent=0, sort_keys=True) + '\n')
  return failed


if __name__ == '__main__':
  command_line.run(main, required=())
