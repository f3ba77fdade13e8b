"""From metric records to the figures a run may quote: two protocols, each named.

A record is a dict as a line of metrics.jsonl: `fold`, `epoch` (from 1) and values.
Folds may stop at different epochs; **a fold that has stopped keeps its last value**
in every epoch after it, so that all curves are as long as the longest.
"""

from collections.abc import Sequence

import numpy as np

from egan_jax.evaluation import epoch_choice
from egan_jax.evaluation.metrics import METRICS

ORACLE_LABEL = 'oracle: epoch chosen on test labels'
HONEST_LABEL = 'honest: epoch chosen on training images, threshold 0'
ORACLE_STOP_LABEL = 'oracle: stopped at Nash equilibrium, read off test labels'


def stack_curves(records: Sequence[dict], field: str) -> np.ndarray:
  """One field of the records as curves `[F, E]`, folds in order, epochs from 1.

  Raises:
    ValueError: no records, or a fold has an epoch twice or lacks one.
  """
  folds = _group_by_fold(records)
  length = max(map(len, folds))
  curves = np.empty((len(folds), length))
  for row, of_fold in enumerate(folds):
    values = [record[field] for record in of_fold]
    curves[row] = values + values[-1:] * (length - len(values))
  return curves


def _group_by_fold(records: Sequence[dict]) -> list[list[dict]]:
  """The records of each fold, folds and epochs in order; errors of `stack_curves`."""
  if not records:
    raise ValueError('no metric records: the run has not finished an epoch')
  folds: dict[int, list[dict]] = {}
  for record in records:
    folds.setdefault(record['fold'], []).append(record)
  for fold, of_fold in folds.items():
    of_fold.sort(key=lambda record: record['epoch'])
    if [record['epoch'] for record in of_fold] != list(range(1, len(of_fold) + 1)):
      raise ValueError(f'records of fold {fold}: an epoch is missing or there twice')
  return [folds[fold] for fold in sorted(folds)]


def find_last_epochs(records: Sequence[dict]) -> list[int]:
  """The last epoch of each fold, in the order of the fold numbers."""
  return [int(epoch) for epoch in stack_curves(records, 'epoch')[:, -1]]


def find_decision_epochs(
  records: Sequence[dict], *, stopped_at_nash: bool = False
) -> np.ndarray:
  """The epoch `[F]` whose discriminator decides, in the order of the fold numbers.

  Args:
    records: metric records.
    stopped_at_nash: whether folds stop at Nash equilibrium. Then the last decides,
      and else the one that `epoch_choice.best_fed` chooses.
  """
  if stopped_at_nash:
    return np.array(find_last_epochs(records))
  return np.array([epoch_choice.best_fed(f) for f in _group_by_fold(records)])


def read_epochs(
  records: Sequence[dict], field: str, epochs: Sequence[int]
) -> np.ndarray:
  """One field of each fold `[F]`, each at its own epoch of `epochs` `[F]`."""
  curves = stack_curves(records, field)
  return curves[np.arange(len(curves)), np.asarray(epochs) - 1]


def paper_protocol(records: Sequence[dict]) -> dict:
  """The paper's figures (its Table 5): the best epoch of the mean over folds.

  For each metric the maximum over epochs of the curve averaged over folds. Each
  metric has its own best epoch, and test labels choose it.

  Returns:
    `label`, `note`, `num_folds`, and `metrics`: for each of `METRICS` the `mean`
    over folds, the `epoch` (from 1, the first of equals) and the spread over folds
    at it: `std` (n - 1; None for one fold), `min`, `max`.
  """
  metrics = {}
  for name in METRICS:
    curves = stack_curves(records, name)
    best = int(curves.mean(axis=0).argmax())
    metrics[name] = {'epoch': best + 1, **_summarise(curves[:, best])}
  return {
    'label': ORACLE_LABEL,
    'note': (
      'per metric the maximum over epochs of the mean over folds; '
      'a fold that stopped early keeps its last value'
    ),
    'num_folds': len(curves),
    'metrics': metrics,
  }


def honest_protocol(records: Sequence[dict], *, stopped_at_nash: bool = False) -> dict:
  """The figures one may quote: `find_decision_epochs`, score < 0.

  Args:
    records: metric records.
    stopped_at_nash: whether folds stop at Nash equilibrium: test labels chose the
      last epoch then, and the label says oracle.

  Returns:
    `label`, `selected_on_test_labels`, `num_folds`, `epochs` (one per fold) and
    `metrics`: for each of `METRICS` the `mean`, `std` (n - 1; None for one fold),
    `min` and `max` over folds.
  """
  epochs = find_decision_epochs(records, stopped_at_nash=stopped_at_nash)
  return {
    'label': ORACLE_STOP_LABEL if stopped_at_nash else HONEST_LABEL,
    'selected_on_test_labels': stopped_at_nash,
    'num_folds': len(epochs),
    'epochs': [int(epoch) for epoch in epochs],
    'metrics': {
      name: _summarise(read_epochs(records, name, epochs)) for name in METRICS
    },
  }


def _summarise(values: np.ndarray) -> dict:
  """Mean and spread of one value per fold `[F]`."""
  return {
    'mean': float(values.mean()),
    'std': float(values.std(ddof=1)) if values.size > 1 else None,
    'min': float(values.min()),
    'max': float(values.max()),
  }
