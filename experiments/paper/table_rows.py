"""Rows of the regenerated tables: from stored cells to cells of text."""

import numpy as np

from egan_jax import rivals
from experiments.paper import rendering, summaries
from experiments.paper.summaries import FIELDS


def of(cells: dict[str, dict], pair: str, ratio: str) -> list[dict]:
  return [c for c in cells.values() if (c['pair'], c['ratio']) == (pair, ratio)]


def name_ratio(ratio: str) -> str:
  return '*1:1 (one image each)' if ratio == 'single' else f'1:{ratio}'


def describe_setting(cell: dict) -> str:
  networks = ' / '.join(dict.fromkeys(cell['backbones']))
  return (
    f'{cell["title"]}, {networks}, {cell["image_size"]} px,'
    f' preprocess={cell["preprocess"]}, {cell["num_epochs"]} epochs'
  )


def describe_runs(cell: dict) -> str:
  """The command, how much of it there is, how long it took."""
  runs = cell['runs'].values()
  seeds = ','.join(sorted({*cell['runs'], *cell['rivals']}))
  with_heads = [seed for seed, table in cell['rivals'].items() if _has_heads(table)]
  kinds = ' --rivals=all' if with_heads else ''
  parts = [f'`{cell["command"]} --seeds={seeds}{kinds}`']
  if runs:
    seconds = sum(run['seconds']['train'] for run in runs)
    machines = dict.fromkeys(
      rendering.describe_machine(run['environment']) for run in runs
    )
    parts.append(
      f'{summaries.describe_seeds(list(cell["runs"]))} x {cell["sizes"][2]} folds,'
      f' {seconds:.0f} s of training, {" and ".join(machines)}'
    )
  decided = [seed for seed, run in cell['runs'].items() if 'honest' in run]
  if 0 < len(decided) < len(runs):
    parts.append(f'honest line: {summaries.describe_seeds(decided)}')
  if cell['rivals']:
    parts.append(f'rivals: {summaries.describe_seeds(list(cell["rivals"]))}')
  if with_heads:
    parts.append(f'of those that train a head: {summaries.describe_seeds(with_heads)}')
  return '; '.join(parts)


def _has_heads(table: dict) -> bool:
  known = {*table} & {*rivals.names()}
  return any(rivals.get(name).reads == rivals.BOUNDARY for name in known)


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
  return [*map(rendering.share, values), *['-'] * (len(FIELDS) - len(values))]


def cells_of(values: dict[str, list[float]]) -> list[str]:
  return [rendering.mean_and_spread(values[field]) for field in FIELDS]


def rows_of(cell: dict | None, first: str) -> list[list[str]]:
  lines = summaries.summarise(cell) if cell else {}
  why = [rendering.NOT_MEASURED] * len(FIELDS)
  if summaries.ORACLE not in lines:
    lines = {'eGAN': None, **lines}
    if cell and cell['estimated_seconds']:
      why[0] += f' (about {cell["estimated_seconds"] / 60:.0f} min a seed)'
  elif summaries.HONEST not in lines:
    oracle = lines.pop(summaries.ORACLE)
    lines = {summaries.ORACLE: oracle, summaries.HONEST: None, **lines}
  return [
    [first, name, *(why if values is None else cells_of(values))]
    for name, values in lines.items()
  ]


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
  if best := summaries.find_best_rival(cell):
    values = summaries.summarise_rivals(cell)[best]
    name = summaries.BEST_RIVAL.format(name=best)
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
