"""Rows of the regenerated tables: from stored cells to cells of text."""

import numpy as np

from egan_jax import rivals
from experiments.paper import rendering, summaries
from experiments.paper.cells import BACKBONE, INPUTS, PAIRS, Cell, describe

HEAD = (
  *('ratio', 'result', 'precision', 'recall', 'F1', 'balanced accuracy', 'AUROC'),
  *('average precision', 'worst F1', 'Matthews correlation'),
)


def of(cells: dict[str, dict], pair: str, ratio: str) -> list[dict]:
  return [c for c in cells.values() if (c['pair'], c['ratio']) == (pair, ratio)]


def group(cells: dict[str, dict], pair: str) -> list[tuple[dict, dict[str, dict]]]:
  """Each setting of a pair and its cells by ratio: what is wanted, then what else is.

  A setting is told by any cell of it; one that is wanted is there without a cell too.
  """
  ratio = next(iter(PAIRS[pair].sizes))
  wanted = [describe(Cell(pair, ratio, (BACKBONE, BACKBONE), *i)) for i in INPUTS]
  grouped = {_key(setting): (setting, {}) for setting in wanted}
  for cell in cells.values():
    if cell['pair'] == pair:
      _, by_ratio = grouped.setdefault(_key(cell), (cell, {}))
      by_ratio[cell['ratio']] = cell
  return [*grouped.values()]


def _key(cell: dict) -> tuple:
  fields = ('image_size', 'preprocess', 'num_epochs')
  return (*cell['backbones'], *(cell[field] for field in fields))


def name_ratio(ratio: str) -> str:
  return '*1:1 (one image each)' if ratio == 'single' else f'1:{ratio}'


def describe_setting(cell: dict) -> str:
  networks = ' / '.join(dict.fromkeys(cell['backbones']))
  return (
    f'{cell["title"]}, {networks}, {cell["image_size"]} px,'
    f' preprocess={cell["preprocess"]}, {cell["num_epochs"]} epochs'
  )


def name_setting(cell: dict) -> str:
  """The same for a picture: networks and epochs only where they are not the usual."""
  told = [f'{cell["image_size"]} px', cell['preprocess']]
  if {*cell['backbones']} != {BACKBONE}:
    told.append(' / '.join(dict.fromkeys(cell['backbones'])))
  if cell['num_epochs'] != Cell.num_epochs:
    told.append(f'{cell["num_epochs"]} epochs')
  return ', '.join(told)


def describe_runs(cell: dict) -> str:
  """The command, how much of it there is, how long it took."""
  runs = cell['runs']
  seeds = ','.join(sorted({*cell['runs'], *cell['rivals']}))
  with_heads = [seed for seed, table in cell['rivals'].items() if _has_heads(table)]
  kinds = ' --rivals=all' if with_heads else ''
  parts = [f'`{cell["command"]} --seeds={seeds}{kinds}`']
  if runs:
    parts.append(describe_played(runs, cell['sizes'][2]))
  if cell['rivals']:
    parts.append(f'rivals: {summaries.describe_seeds(list(cell["rivals"]))}')
  if with_heads:
    heads = [cell['rivals'][seed] for seed in with_heads]
    parts.append(
      f'of those that train a head: {summaries.describe_seeds(with_heads)}'
      f'{_describe_machines(heads)}'
    )
  return '; '.join(parts)


def _describe_machines(tables: list[dict]) -> str:
  """Where the rivals that train a head were measured, as far as it is stored."""
  told = rendering.list_machines(
    (values['machine'], values['commit'])
    for table in tables
    for name, values in table.items()
    if _trains_head(name) and 'machine' in values
  )
  return f', {told}' if told else ''


def describe_played(runs: dict[str, dict], num_folds: int) -> str:
  """Which seeds were played, how long it took, and where."""
  seconds = sum(run['seconds']['train'] for run in runs.values())
  machines = rendering.describe_machines(run['environment'] for run in runs.values())
  return (
    f'{summaries.describe_seeds(list(runs))} x {num_folds} folds,'
    f' {seconds:.0f} s of training, {machines}'
  )


def _trains_head(name: str) -> bool:
  return rivals.get(name).reads == rivals.BOUNDARY


def _has_heads(table: dict) -> bool:
  return any(map(_trains_head, table))


def describe_cost(cells: list[dict]) -> str:
  for cell in cells:
    if cell['image_size'] == 32 and cell['runs']:
      seconds = [run['seconds']['train'] for run in cell['runs'].values()]
      return f'{np.mean(seconds):.0f}'
  for cell in cells:
    if cell['image_size'] == 32 and cell['estimated_seconds']:
      return f'about {cell["estimated_seconds"]:.0f}; not run'
  return rendering.NOT_MEASURED


def published(values: tuple[float, ...]) -> list[str]:
  return [*map(rendering.share, values), *['-'] * (len(summaries.FIELDS) - len(values))]


def cells_of(values: dict[str, list[float]]) -> list[str]:
  return [
    rendering.mean_and_spread(values[field]) if field in values else '-'
    for field in summaries.FIELDS
  ]


def rows_of(cell: dict | None, first: str) -> list[list[str]]:
  lines = summaries.summarise(cell) if cell else {}
  why = [rendering.NOT_MEASURED] * len(summaries.FIELDS)
  if summaries.ORACLE not in lines:
    lines = {'eGAN': None, **lines}
    if cell and cell['estimated_seconds']:
      why[0] += f' (about {cell["estimated_seconds"] / 60:.0f} min a seed)'
  return [
    [first, name, *(why if values is None else cells_of(values))]
    for name, values in lines.items()
  ]


def rival_rows(cell: dict | None, first: str) -> list[list[str]]:
  """A row per rival, and one of those that were not measured."""
  rows, missing = [], 'all'
  if cell and cell['rivals']:
    rows = [
      [
        first,
        summaries.name_rival(cell, name),
        *cells_of(values),
        rendering.mean_and_spread(values['specificity']),
        rendering.share(min(values['specificity'])),
        str(len(values['f1'])),
      ]
      for name, values in summaries.summarise_rivals(cell).items()
    ]
    missing = ', '.join(summaries.list_missing_rivals(cell))
  if missing:
    rows.append(
      [first, missing, *[rendering.NOT_MEASURED] * (len(summaries.FIELDS) + 3)]
    )
  return rows


def shorten(name: str) -> str:
  """The same series in every group of a picture."""
  return 'best rival' if name.startswith('best rival') else name


def values_to_draw(cell: dict) -> dict[str, list[float]]:
  return {
    shorten(name): values['f1']
    for name, values in summaries.summarise(cell).items()
    if name != summaries.FLOOR
  }


def count_rows(cell: dict, totals) -> dict[str, tuple[list[float], list[float]]]:
  """Correct images of both classes by line, a value per game."""
  counts = {}
  runs = cell['runs']
  if runs:
    seed, run = next(iter(runs.items()))
    first = run['first_fold']
    name = f'eGAN, oracle: fold 0 of seed {seed}, epoch {first["epoch"]}'
    counts[name] = [first['minority_correct']], [first['majority_correct']]
    counts[summaries.HONEST] = tuple(
      summaries.pool_folds(runs, f'{kind}_correct') for kind in ('minority', 'majority')
    )
  else:
    counts['eGAN'] = [], []
  for name, values in summaries.find_best_rival(cell).items():
    counts[name] = values['minority_correct'], values['majority_correct']
  if totals:
    counts[summaries.FLOOR] = [totals[0]], [0]
  return counts


def count_row(name, minority, majority, totals) -> list[str]:
  if not len(minority):
    return [name, *[rendering.NOT_MEASURED] * 4]
  means = np.mean(minority), np.mean(majority)
  return [
    name,
    f'{means[0]:.0f}',
    f'{totals[0] - means[0]:.0f}',
    f'{totals[1] - means[1]:.0f}',
    f'{means[1]:.0f}',
  ]


def add_counts(groups, name, minority, majority) -> None:
  groups['minority found'][name] = list(minority)
  groups['majority found'][name] = list(majority)
