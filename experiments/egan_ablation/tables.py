"""Writes the tables of docs/egan_ablation.md from the stored results."""

from pathlib import Path

import numpy as np

from egan_jax.reporting.tables import to_markdown
from experiments import documents
from experiments.egan_ablation import search as setting_search
from experiments.egan_ablation.versions import VERSIONS, Setting
from experiments.few_images.tables import interval

RESULT = Path(__file__).parents[1] / 'results' / 'egan_ablation.json'
DOCUMENT = Path(__file__).parents[2] / 'docs' / 'egan_ablation.md'
COMMAND = 'experiments.egan_ablation'
RIVALS = ('nearest_class_mean', 'plda', 'plda_knn')


def compare(result: dict, rivals: dict) -> dict[tuple[str, str, int], dict]:
  """Cells by (problem, method, number of images): the versions' and the rivals'."""
  cells = {_split(key): cell for key, cell in result['cells'].items()}
  rows = {(problem, n) for problem, _, n in cells}
  for problem, n in rows:
    for name in RIVALS:
      key = f'{problem}|EfficientNetLite0|224|{name}|{n}'
      cells[problem, name, n] = rivals[key]
  return cells


def _split(key: str) -> tuple[str, str, int]:
  problem, method, n = key.split('|')
  return problem, method, int(n)


def score_table(cells: dict) -> str:
  """F1 at 5 % false alarms (AUROC); the interval of 'plda_knn' beside it."""

  def fill(cell, method):
    text = f'{np.mean(cell["f1"]):.3f} ({np.mean(cell["auroc"]):.3f})'
    if method != 'plda_knn':
      return text
    low, high = interval(cell['f1'])
    return f'{text}, {low:.3f} to {high:.3f}'

  return _table(cells, [*RIVALS, *VERSIONS], fill)


def difference_table(cells: dict) -> str:
  """F1 less that of 'plda_knn' on the same draws, with its 95 % interval."""

  def fill(cell, method, rival):
    difference = np.subtract(cell['f1'], rival['f1'])
    low, high = interval(difference)
    return f'{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})'

  return _table(cells, VERSIONS, fill, 'plda_knn')


def zero_table(cells: dict) -> str:
  """F1 at the paper's threshold, a score of 0."""

  def fill(cell, method):
    return f'{np.mean(cell["f1_at_zero"]):.3f}'

  return _table(cells, [m for m, v in VERSIONS.items() if not v.fused], fill)


def moved_table(cells: dict) -> str:
  """How far the weights went from those of the rule, in units of these."""

  def fill(cell, method):
    return f'{np.mean(cell["moved"]):.2f}'

  from_rule = [m for m, v in VERSIONS.items() if v.game.from_rule and v.trained]
  return _table(cells, from_rule, fill)


def setting_table(result: dict) -> str:
  """What the search chose, after its F1."""
  search = result['search']
  numbers = [str(n) for n in setting_search.NUMBERS]
  rows = []
  for name in VERSIONS:
    row = [name]
    for n in numbers:
      setting = setting_search.describe(Setting(**search['chosen'][name][n]))
      row.append(f'{search["tried"][name][setting][n][0]:.3f}: {setting}')
    rows.append(row)
  head = ['version', *(f'{n} images' for n in numbers)]
  return to_markdown([head, *rows]) + '\n'


def reaching(cells: dict) -> dict[str, list[tuple[str, int]]]:
  """The rows on which each version's mean F1 is below the interval of 'plda_knn'."""
  below: dict[str, list] = {name: [] for name in VERSIONS}
  for problem, n in _rows(cells):
    low, _ = interval(cells[problem, 'plda_knn', n]['f1'])
    for name, missed in below.items():
      if np.mean(cells[problem, name, n]['f1']) < low:
        missed.append((problem, n))
  return below


def verdict_table(cells: dict) -> str:
  """Where each version reaches 'plda_knn'."""
  rows = []
  for name, missed in reaching(cells).items():
    reached = len(_rows(cells)) - len(missed)
    where = ', '.join(f'{problem} {n}' for problem, n in missed) or 'none'
    rows.append([name, f'{reached} of {len(_rows(cells))}', where])
  return to_markdown([['version', 'rows reached', 'rows below'], *rows]) + '\n'


def _table(cells: dict, methods, fill, rival: str | None = None) -> str:
  rows = []
  for method in methods:
    row = [method]
    for problem, n in _rows(cells):
      others = (cells[problem, rival, n],) if rival else ()
      row.append(fill(cells[problem, method, n], method, *others))
    rows.append(row)
  head = ['', *(f'{problem} {n}' for problem, n in _rows(cells))]
  return to_markdown([head, *rows]) + '\n'


def _rows(cells: dict) -> list[tuple[str, int]]:
  return sorted({(problem, n) for problem, _, n in cells})


def tables(result: dict, rivals: dict) -> dict[str, str]:
  """Every table of the document by the name of its marker."""
  cells = compare(result, rivals)
  return {
    'table': score_table(cells),
    'verdict': verdict_table(cells),
    'differences': difference_table(cells),
    'zero': zero_table(cells),
    'moved': moved_table(cells),
    'settings': setting_table(result),
  }


def write(result: dict, rivals: dict) -> None:
  """Replaces the tables of the document."""
  documents.replace_tables(DOCUMENT, COMMAND, tables(result, rivals))
