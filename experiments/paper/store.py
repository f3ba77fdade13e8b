"""What was measured so far: cells of experiments/results/table_cells.json, by name."""

import json
import logging
from pathlib import Path

from egan_jax import run_files
from egan_jax.errors import UserError
from experiments.paper import rival_runs, runs
from experiments.paper.cells import Cell, describe

RESULTS = Path(__file__).parents[1] / 'results'
CELLS = 'table_cells.json'


def read_cells(results: Path = RESULTS) -> dict[str, dict]:
  """Measured cells by name: their settings, runs and rivals by seed, and cost."""
  path = results / CELLS
  return json.loads(path.read_text()) if path.exists() else {}


def write_cells(cells: dict[str, dict], results: Path = RESULTS) -> None:
  """Writes them all."""
  run_files.write_json(results / CELLS, cells)


def measure(
  cell: Cell,
  seeds: list[int],
  data_dir: str,
  folder: Path,
  play: bool,
  rivals: str,
) -> dict:
  """Plays what is missing if asked to, and gathers what is there.

  Args:
    cell: the setting.
    seeds: of the runs.
    data_dir: where the images are.
    folder: of the runs.
    play: whether to start the game where its run is missing.
    rivals: which rivals to measure, of `rival_runs.KINDS`.

  Returns:
    The cell as it is stored. `missing` says why a seed has no run.
  """
  measured = {**describe(cell), 'runs': {}, 'rivals': {}, 'missing': {}}
  for seed in seeds:
    try:
      if play:
        runs.play(cell, seed, data_dir, folder)
      if rivals != 'none':
        rival_runs.measure(cell, seed, data_dir, folder, rivals)
    except UserError as error:
      logging.warning('%s: %s', cell.workdir_name(seed), error)
      measured['missing'][str(seed)] = str(error)
    if run := runs.read(cell, seed, folder):
      measured['runs'][str(seed)] = run
    if table_of_rivals := rival_runs.read(cell, seed, folder)['rivals']:
      measured['rivals'][str(seed)] = table_of_rivals
  measured['estimated_seconds'] = estimate_seconds(cell, folder)
  return measured


def describe_failures(failed: dict[str, str]) -> str:
  """One line that names what could not be measured, each reason once."""
  by_reason = {}
  for name, reason in failed.items():
    by_reason.setdefault(reason, []).append(name)
  told = [f'{", ".join(names)}: {reason}' for reason, names in by_reason.items()]
  return f'could not measure {"; ".join(told)}'


def estimate_seconds(cell: Cell, folder: Path) -> float | None:
  """Training seconds of a run of the cell, from one of a single epoch, if there is."""
  probe = runs.read(
    Cell(cell.pair, cell.ratio, cell.backbones, cell.image_size, cell.preprocess, 1),
    0,
    folder,
  )
  return None if probe is None else probe['seconds']['train'] * cell.num_epochs


def merge(old: dict[str, dict], new: dict[str, dict]) -> dict[str, dict]:
  """Cells of both; of one that is in both, the seeds and rivals of both.

  What is in both is the new one's. A new cell of which nothing was measured adds
  nothing.
  """
  merged = dict(old)
  for name, cell in new.items():
    if not (cell['runs'] or cell['rivals'] or cell['estimated_seconds']):
      continue
    before = merged.get(name, {'runs': {}, 'rivals': {}})
    merged[name] = {
      **cell,
      'runs': {**before['runs'], **cell['runs']},
      'rivals': {
        seed: {**before['rivals'].get(seed, {}), **cell['rivals'].get(seed, {})}
        for seed in {**before['rivals'], **cell['rivals']}
      },
      'estimated_seconds': cell['estimated_seconds'] or before.get('estimated_seconds'),
    }
  return merged
