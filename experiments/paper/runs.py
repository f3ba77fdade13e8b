"""The runs behind the cells: found in a folder or made, and read into plain numbers."""

import json
from pathlib import Path

import numpy as np

from egan_jax import run_files, train, workdir
from egan_jax.errors import UserError
from egan_jax.evaluation import protocols
from egan_jax.evaluation.metrics import METRICS
from experiments.paper.cells import Cell, make_config

COUNTS = ('minority_correct', 'minority_total', 'majority_correct', 'majority_total')
CURVES = (
  'precision',
  'recall',
  'f1',
  'minority_correct',
  'majority_correct',
  'generator_loss',
  'discriminator_loss',
)
# Where and how a run is computed and judged after training, not what it is.
_FREE = {'data_dir', *workdir.PLACEMENT}


def play(cell: Cell, seed: int, data_dir: str, runs: Path) -> None:
  """Plays one run of a cell, resumes it, or leaves it if it is finished.

  Raises:
    UserError: data or weights are missing.
  """
  folder = runs / cell.workdir_name(seed)
  if workdir.read_summary(folder) is None:
    train.train_and_evaluate(make_config(cell, seed, data_dir), str(folder))


def read(cell: Cell, seed: int, runs: Path) -> dict | None:
  """What a finished run measured, None if there is none.

  Returns:
    `oracle` (`protocols.paper_protocol`); `honest`, each metric and count at the
    decision epoch, and that `epoch`, as a list over folds; `first_fold`, the counts of
    fold 0 at its best F1, an oracle's; `curves`, means over folds; `seconds`; `environment`.

  Raises:
    UserError: the folder holds a run of something else.
  """
  folder = runs / cell.workdir_name(seed)
  summary = workdir.read_summary(folder)
  if summary is None:
    return None
  _check(folder, cell, seed)
  records = run_files.read_records(folder / workdir.METRICS)
  return describe(records, summary)


def describe(records: list[dict], summary: dict) -> dict:
  """`read` of a run's records and summary."""
  epochs = protocols.find_decision_epochs(records)
  decided = {
    name: protocols.read_epochs(records, name, epochs)
    for name in ('epoch', *METRICS, *COUNTS)
  }
  fold = [record for record in records if record['fold'] == 0]
  best = max(fold, key=lambda record: record['f1'])
  return {
    'oracle': protocols.paper_protocol(records),
    'honest': {name: values.tolist() for name, values in decided.items()},
    'first_fold': {name: best[name] for name in ('epoch', 'f1', *COUNTS)},
    'curves': {
      name: np.round(protocols.stack_curves(records, name).mean(axis=0), 4).tolist()
      for name in CURVES
    },
    'seconds': summary['seconds'],
    'environment': summary['environment'],
  }


def _check(folder: Path, cell: Cell, seed: int) -> None:
  """A run by another version may lack fields; those that both know must agree."""
  held = json.loads((folder / workdir.CONFIG).read_text())
  wanted = make_config(cell, seed, '').to_dict()
  for field in sorted({*held} & {*wanted} - _FREE):
    if held[field] != wanted[field]:
      raise UserError(
        f'{folder} holds another run: {field} is {held[field]!r} there and'
        f' {wanted[field]!r} here; choose another --runs'
      )
