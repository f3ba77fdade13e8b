"""From a stored cell to the lines a table shows: over seeds and folds, each named."""

from collections.abc import Sequence

import numpy as np

from egan_jax import rivals
from egan_jax.evaluation.metrics import METRICS, constant_predictor_floor

ORACLE = 'eGAN, paper protocol (oracle)'
HONEST = 'eGAN, honest (epoch by training images, threshold 0)'
FLOOR = 'always minority'
# The oracle has neither: each of its metrics is of another epoch, and a mean of folds.
OF_GAMES = ('worst_f1', 'matthews_correlation')
FIELDS = (*METRICS, *OF_GAMES)
BEST_RIVAL = 'best rival of {count}: {name}'


def pool_folds(runs: dict[str, dict], field: str) -> list[float]:
  """A value per game where it decides, seed after seed."""
  return [value for run in runs.values() for value in run['honest'][field]]


def summarise(cell: dict) -> dict[str, dict[str, list[float]]]:
  """Values by line of the table and field.

  The oracle's are one per seed (the maximum of a mean over folds); honest ones and
  rivals' one per game. Lines that were not measured are not there.
  """
  lines = {}
  runs = cell['runs']
  if runs:
    lines[ORACLE] = {
      field: [run['oracle']['metrics'][field]['mean'] for run in runs.values()]
      for field in METRICS
    }
    fields = (*METRICS, 'minority_correct', 'majority_correct')
    honest = {field: pool_folds(runs, field) for field in fields}
    lines[HONEST] = _add_of_games(honest, count_test_images(cell))
  lines |= find_best_rival(cell)
  if totals := count_test_images(cell):
    floor = constant_predictor_floor(*totals)
    lines[FLOOR] = _add_of_games({field: [floor[field]] for field in floor}, totals)
  return lines


def _add_of_games(values: dict[str, list], totals: tuple[int, int]) -> dict[str, list]:
  """`OF_GAMES` as well, from a line's F1 and counts of correct images, per game."""
  counts = zip(values['minority_correct'], values['majority_correct'], strict=True)
  return {
    **values,
    'worst_f1': [min(values['f1'])],
    'matthews_correlation': [_correlate(*correct, *totals) for correct in counts],
  }


def _correlate(minority_correct, majority_correct, num_minority, num_majority) -> float:
  """Matthews correlation; scikit-learn's takes labels, and a second for a thousand."""
  minority_wrong = num_minority - minority_correct
  majority_wrong = num_majority - majority_correct
  called_minority = minority_correct + majority_wrong
  called_majority = majority_correct + minority_wrong
  product = called_minority * called_majority * num_minority * num_majority
  if not product:
    return 0.0
  agreement = minority_correct * majority_correct - minority_wrong * majority_wrong
  return agreement / product**0.5


def summarise_rivals(cell: dict) -> dict[str, dict[str, list[float]]]:
  """Of each rival, by field, a value per draw of all seeds it was measured on."""
  names = dict.fromkeys(name for table in cell['rivals'].values() for name in table)
  pooled = {
    name: {
      field: [
        value
        for table in cell['rivals'].values()
        if name in table
        for value in table[name][field]
      ]
      for field in (*METRICS, 'specificity', 'minority_correct', 'majority_correct')
    }
    for name in names
  }
  totals = count_test_images(cell)
  return {name: _add_of_games(values, totals) for name, values in pooled.items()}


def find_best_rival(cell: dict) -> dict[str, dict[str, list[float]]]:
  """The line of the rival with the highest mean balanced accuracy, if there is one.

  It is picked on test labels, of as many as its name says: those that were measured
  and have a threshold that means something. They are compared on the draws that all of
  them have; the line is of all draws of the one picked.
  """
  candidates = {
    name: values
    for name, values in summarise_rivals(cell).items()
    if name != 'always_minority' and _has_threshold(cell, name)
  }
  if not candidates:
    return {}
  shared = {s: t for s, t in cell['rivals'].items() if t.keys() >= candidates.keys()}
  compared = summarise_rivals({**cell, 'rivals': shared or cell['rivals']})
  best = max(candidates, key=lambda n: np.mean(compared[n]['balanced_accuracy']))
  line = BEST_RIVAL.format(count=len(candidates), name=name_rival(cell, best))
  return {line: candidates[best]}


def name_rival(cell: dict, name: str) -> str:
  """A rival of the cell, with its threshold where that is not of held-out images."""
  if not _is_at_zero(cell, name):
    return name
  return f'{name} (at 0{"" if _has_threshold(cell, name) else ", arbitrary"})'


def _is_at_zero(cell: dict, name: str) -> bool:
  """By the rule that is stored, alike for all seeds: they have as many images."""
  tables = cell['rivals'].values()
  return next(table[name]['rule'] for table in tables if name in table) == 'zero'


def _has_threshold(cell: dict, name: str) -> bool:
  """False where 0 is all there is and the rival's scores do not decide there."""
  if not _is_at_zero(cell, name):
    return True
  return rivals.get(name).decides_at_zero


def list_missing_rivals(cell: dict) -> list[str]:
  """Rivals that exist and were not measured in the cell."""
  return [n for n in rivals.names() if not any(n in t for t in cell['rivals'].values())]


def count_test_images(cell: dict) -> tuple[int, int] | None:
  """Test images of the minority and the majority, where anything was measured."""
  for run in cell['runs'].values():
    return run['first_fold']['minority_total'], run['first_fold']['majority_total']
  for table in cell['rivals'].values():
    counts = next(iter(table.values()))
    return counts['minority_total'][0], counts['majority_total'][0]
  return None


def describe_seeds(seeds: Sequence[str]) -> str:
  """'seed 0' or 'seeds 0, 1'."""
  return f'seed{"s" * (len(seeds) != 1)} {", ".join(seeds)}'
