"""Fixtures of more than one module."""

import pytest

from egan_jax import run_files
from experiments.paper import store
from tests.experiments.stored_runs import CELL, make_rivals, write_run


@pytest.fixture
def measured(tmp_path):
  """Two seeds of a cell and their rivals, gathered and stored."""
  for seed in (0, 1):
    write_run(tmp_path, seed)
    path = tmp_path / f'{CELL.workdir_name(seed)}_rivals.json'
    run_files.write_json(path, {'rivals': make_rivals(seed)})
  cell = store.measure(CELL, [0, 1], '', tmp_path, play=False, rivals='none')
  store.write_cells({CELL.name: cell}, tmp_path / 'results')
  return cell
