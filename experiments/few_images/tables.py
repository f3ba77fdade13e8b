"""Writes the tables of docs/one_rare_image.md from the stored results."""

import json
from pathlib import Path

import numpy as np

from egan_jax.reporting.tables import to_markdown
from experiments import documents
from experiments.few_images.problems import PROBLEMS

DOCUMENT = Path(__file__).parents[2] / 'docs' / 'one_rare_image.md'
COMMAND = 'experiments.few_images'
_RESULTS = Path(__file__).parents[1] / 'results'
RESULT = _RESULTS / 'few_images.json'
# What the work set out for, with all that follows it allowed to look at training images only.
TARGETS = {
  'airplane/automobile': {1: 0.972, 2: 0.977, 10: 0.982, 100: 0.986},
  'bird/cat': {1: 0.89, 2: 0.90, 10: 0.93, 100: 0.96},
}
_BOOTSTRAPS = 2000
_DEFAULT = 'EfficientNetLite0'
_BOTH = 'EfficientNetLite0+EfficientNetLite1'
_BEST = f'{_BOTH}+EfficientNetLite2'
# With the backbones of the presets 'default' and 'best'.
_DETAILED = (_DEFAULT, _BEST)
# What images are seen with: of the presets 'fast' and 'default', one between, and 'best'.
_SEEN_WITH = ((_DEFAULT, 96), (_DEFAULT, 224), (_BOTH, 224), (_BEST, 224))
# Of the first table: side of the images in pixels, and method.
_COLUMNS = (
  (32, 'nearest_class_mean'),
  (32, 'fusion'),
  (96, 'nearest_class_mean'),
  (96, 'fusion'),
  (224, 'nearest_class_mean'),
  (224, 'plda'),
  (224, 'plda_knn'),
  (224, 'fusion'),
)


def interval(values: list[float]) -> tuple[float, float]:
  """95 % bootstrap interval of the mean over draws."""
  values = np.asarray(values)
  rng = np.random.default_rng(0)
  resampled = values[rng.integers(0, len(values), (_BOOTSTRAPS, len(values)))]
  low, high = np.quantile(resampled.mean(axis=1), [0.025, 0.975])
  return float(low), float(high)


def parse(stored: dict) -> dict[tuple, dict]:
  """Cells by (problem, backbones, size, method, number of minority images)."""
  cells = {}
  for key, cell in stored.items():
    problem, backbones, size, method, n = key.split('|')
    cells[problem, backbones, int(size), method, int(n)] = cell
  return cells


def f1_table(cells: dict[tuple, dict]) -> str:
  """F1 (AUROC) at 5 % false alarms of one backbone, methods and sizes side by side."""
  lines = [['minority images', *(f'{method} {size} px' for size, method in _COLUMNS)]]
  for problem, n in _rows(cells):
    row = [f'{problem} {n}']
    for size, method in _COLUMNS:
      cell = cells.get((problem, _DEFAULT, size, method, n))
      row.append(
        f'{_mean(cell, "f1"):.3f} ({_mean(cell, "auroc"):.3f})' if cell else '-'
      )
    lines.append(row)
  return to_markdown(lines) + '\n'


def preset_table(cells: dict[tuple, dict]) -> str:
  """F1 of 'fusion' at the default threshold, by what images are seen with.

  With the last of these also the worst draw, and the mean at each draw's best cut.
  """
  names = [
    f'{name.replace("EfficientNet", "")}, {size} px' for name, size in _SEEN_WITH
  ]
  lines = [['minority images', *names, 'worst draw', 'best cut there is', 'target']]
  for problem, n in _rows(cells):
    found = [cells.get((problem, *view, 'fusion', n)) for view in _SEEN_WITH]
    target = TARGETS.get(problem, {}).get(n)
    lines.append(
      [
        f'{problem} {n}',
        *(f'{_mean(cell, "f1_expected"):.3f}' if cell else '-' for cell in found),
        f'{min(found[-1]["f1_expected"]):.3f}' if found[-1] else '-',
        f'{_mean(found[-1], "best_f1"):.3f}' if found[-1] else '-',
        f'{target:.3f}' if target else '',
      ]
    )
  return to_markdown(lines) + '\n'


def detail_table(cells: dict[tuple, dict]) -> str:
  """Every method at the largest size: mean, interval, worst draw, both thresholds."""
  lines = [
    [
      'problem',
      'images',
      'method',
      'F1 at 5 % (95 % interval)',
      'worst draw',
      'F1 at the default threshold',
      'recall at 5 %',
      'specificity at 5 %',
      'AUROC',
      'draws',
      'target',
    ]
  ]
  for key in sorted(cells, key=lambda k: (list(_order(cells)).index(k[0]), k[4], k[1])):
    problem, backbones, size, method, n = key
    if size != 224 or backbones not in _DETAILED:
      continue
    cell = cells[key]
    low, high = interval(cell['f1'])
    lines.append(
      [
        problem,
        str(n),
        method + _backbones(backbones),
        f'{_mean(cell, "f1"):.3f} ({low:.3f} to {high:.3f})',
        f'{min(cell["f1"]):.3f}',
        f'{_mean(cell, "f1_expected"):.3f}' if 'f1_expected' in cell else '-',
        f'{_mean(cell, "recall"):.3f}',
        f'{_mean(cell, "specificity"):.3f}',
        f'{_mean(cell, "auroc"):.3f}',
        str(len(cell['f1'])),
        f'{TARGETS.get(problem, {}).get(n, 0):.3f}'
        if method == 'fusion' and problem in TARGETS
        else '',
      ]
    )
  return to_markdown(lines) + '\n'


def forecast_table(kinds: dict) -> str:
  """What the forecast of few minority images' scores is worth, by kind of pair."""
  columns = {
    'f1_at_5_percent': '5 % false alarms',
    'f1_of_forecast': 'by the forecast',
    'best_f1': 'best cut there is',
    'false_alarms_of_forecast': 'false alarms by the forecast',
    'error_of_forecast': 'error of the forecast',
  }
  lines = [['pairs', 'images', *columns.values()]]
  for kind, numbers in kinds.items():
    for n, means in numbers.items():
      lines.append([kind, n, *(f'{means[key]:.3f}' for key in columns)])
  return to_markdown(lines) + '\n'


def views_table(views: dict) -> str:
  """The highest F1 of 'fusion' by what else of the backbone it reads."""
  columns = [
    (kind, n)
    for kind, numbers in views['224 px'].items()
    for n in sorted(numbers, key=int)
  ]
  lines = [['seen of Lite0', *(f'{kind} {n}' for kind, n in columns)]]
  for view, kinds in views.items():
    values = (f'{kinds[kind][n]["best_f1"]:.3f}' for kind, n in columns)
    lines.append([view, *values])
  return to_markdown(lines) + '\n'


def make_tables(stored: dict, forecast: dict, views: dict) -> dict[str, str]:
  """Every table of the document, by the name in its marker.

  Args:
    stored: cells of few_images.
    forecast: the means of few_images.forecast.
    views: those of few_images.views.
  """
  cells = parse(stored)
  return {
    'table': f1_table(cells),
    'presets': preset_table(cells),
    'details': detail_table(cells),
    'forecast': forecast_table(forecast),
    'views': views_table(views),
  }


def read_means(name: str) -> dict:
  """The stored means over pairs and draws of an experiment."""
  text = (_RESULTS / f'{name}.json').read_text()
  return json.loads(text)['mean_over_pairs_and_draws']


def read_tables(stored: dict) -> dict[str, str]:
  """`make_tables` from what is stored beside the cells."""
  others = (read_means(f'few_images_{name}') for name in ('forecast', 'views'))
  return make_tables(stored, *others)


def write(stored: dict) -> None:
  """Replaces the tables of the document."""
  documents.replace_tables(DOCUMENT, COMMAND, read_tables(stored))


def _order(cells) -> dict:
  return dict.fromkeys([*PROBLEMS, *(key[0] for key in cells)])


def _rows(cells) -> list[tuple[str, int]]:
  found = {(key[0], key[4]) for key in cells}
  order = list(_order(cells))
  return sorted(found, key=lambda row: (order.index(row[0]), row[1]))


def _backbones(backbones: str) -> str:
  return '' if backbones == _DEFAULT else f' ({backbones.replace("EfficientNet", "")})'


def _mean(cell: dict, name: str) -> float:
  return float(np.mean(cell[name]))
