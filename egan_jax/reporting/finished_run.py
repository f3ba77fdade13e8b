"""A finished run as its workdir holds it, for pages and tables about it."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from egan_jax import run_files, workdir
from egan_jax.errors import UserError
from egan_jax.evaluation.metrics import METRICS

# Where a metric's name is not its field with spaces for underscores.
_METRIC_NAMES = {
  'f1': 'F1',
  'auroc': 'AUROC',
  'matthews_correlation': 'Matthews correlation',
  'brier': 'Brier score',
}


@dataclasses.dataclass(frozen=True)
class Counts:
  """How many images a run used.

  Attributes:
    folds: draws of the minority, one fit each.
    minority: training images per fold.
    majority: training images, those held out for the threshold among them.
    test_minority: test images; 0 where there are none.
    test_majority: likewise.
  """

  folds: int
  minority: int
  majority: int
  test_minority: int
  test_majority: int


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """What a workdir says of its run.

  Attributes:
    folder: the workdir.
    config: as config.json.
    summary: as summary.json.
    records: metric records of all folds and epochs; none for a method without epochs.
    scores: test scores `[F, T]`, or None where there are none.
    is_minority: bool `[T]`, or None.
    class_names: of the minority and of the majority.
    counts: of images.
  """

  folder: Path
  config: dict
  summary: dict
  records: list[dict]
  scores: np.ndarray | None
  is_minority: np.ndarray | None
  class_names: tuple[str, str]
  counts: Counts

  @property
  def method(self) -> str:
    """The method that made the decision."""
    return self.summary['decision']['method']


def read(folder: str | os.PathLike, summary: dict | None = None) -> FinishedRun:
  """Reads a workdir.

  Args:
    folder: the workdir.
    summary: the summary, of a run that is about to write it; by default the file's.

  Raises:
    UserError: there is no run, it is not finished, or a file of it is damaged.
  """
  folder = Path(folder)
  if not (folder / workdir.CONFIG).is_file():
    raise UserError(f'{folder} is not the workdir of a run: it has no config.json')
  if summary is None:
    summary = workdir.read_summary(folder)
  if summary is None:
    raise UserError(
      f'the run in {folder} is not finished: give the same command again to resume it'
    )
  config = run_files.read_json(folder / workdir.CONFIG)
  try:
    records = run_files.read_records(folder / workdir.METRICS)
  except ValueError as error:
    raise UserError(str(error)) from error
  scores, is_minority = _read_scores(folder / workdir.SCORES)
  draws = run_files.read_json(folder / workdir.DRAWS)
  return FinishedRun(
    folder=folder,
    config=config,
    summary=summary,
    records=records,
    scores=scores,
    is_minority=is_minority,
    class_names=(summary['classes']['minority'], summary['classes']['majority']),
    counts=_count(draws, is_minority),
  )


def name_metric(field: str) -> str:
  """A metric as tables call it."""
  return _METRIC_NAMES.get(field, field.replace('_', ' '))


def format_score(value: float | str) -> str:
  """A score, or a threshold of summary.json, where infinite ones are words, as text."""
  return f'{float(value):.4g}'.replace('inf', 'infinity')


def order_metrics(fields: Iterable[str]) -> list[str]:
  """Those of the fields that are metrics, the ones a run quotes first."""
  fields = list(fields)
  quoted = [name for name in METRICS if name in fields]
  return quoted + [name for name in fields if name not in quoted]


def _read_scores(path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
  if not path.exists():
    return None, None
  try:
    with np.load(path) as file:
      scores, is_minority = file['scores'], file['labels'].astype(bool)
  except Exception as error:  # parsers of damaged bytes raise almost anything
    raise UserError(f'{path} is damaged ({error})') from error
  return (scores, is_minority) if scores.size else (None, None)


def _count(draws: dict, is_minority: np.ndarray | None) -> Counts:
  tested = np.zeros(0, bool) if is_minority is None else is_minority
  return Counts(
    folds=len(draws['minority']),
    minority=len(draws['minority'][0]),
    majority=len(draws['majority']) + len(draws['held_out_majority']),
    test_minority=int(tested.sum()),
    test_majority=int((~tested).sum()),
  )
