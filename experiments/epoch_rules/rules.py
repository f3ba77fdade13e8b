"""The rules that are compared: from records of one game to an epoch.

Each reads a dict per epoch, made by `describe_epoch` from scores of training images
alone; of epochs that are equally good it takes the latest.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from egan_jax.evaluation.epoch_choice import best_fed, compute_auroc

Records = Sequence[Mapping]


def describe_epoch(
  epoch: int,
  steps: int,
  held_out: np.ndarray,
  previous_held_out: np.ndarray | None,
  left_out: np.ndarray,
  fed: tuple[np.ndarray, np.ndarray],
) -> dict:
  """What training images say about one epoch.

  Args:
    epoch: counted from 1.
    steps: updates of the discriminator by its end.
    held_out: scores `[m]` of majority images that did not train the discriminator.
    previous_held_out: those of the same images one epoch before, if there was one.
    left_out: scores `[k]` of minority images that the game was not fed with.
    fed: scores of minority and of majority images that it was fed with, `[n]` and
      `[m]`.

  Returns:
    `epoch`; `steps`; `false_positive_rate`, the share of held-out majority images with a
    score below 0; `rank_correlation` (Spearman's) of their scores with those one
    epoch before, None in the first and 0 where one of the two ranks nothing;
    `left_out_auroc` of the left out minority against the held-out majority images;
    `fed_auroc` of those the game was fed with.
  """
  correlation = None
  if previous_held_out is not None:
    correlation = _correlate_ranks(held_out, previous_held_out)
  return {
    'epoch': epoch,
    'steps': steps,
    'false_positive_rate': float(np.mean(held_out < 0)),
    'rank_correlation': correlation,
    'left_out_auroc': compute_auroc(left_out, held_out),
    'fed_auroc': compute_auroc(*fed),
  }


def last(records: Records) -> int:
  """The last epoch, whatever it is like."""
  return max(record['epoch'] for record in records)


def after_steps(records: Records, steps: int = 20) -> int:
  """The first epoch that ends after so many updates, the last one if none does."""
  return min(
    (record['epoch'] for record in records if record['steps'] >= steps),
    default=last(records),
  )


def most_stable(records: Records) -> int:
  """The epoch whose held-out scores rank the most like those of the epoch before."""
  return _best(records, 'rank_correlation', lambda value: value)


def best_left_out(records: Records) -> int:
  """The epoch with the highest AUROC of left-out minority images."""
  return _best(records, 'left_out_auroc', lambda value: value)


def nearest_false_positive_rate(records: Records, rate: float = 0.05) -> int:
  """The epoch at which the threshold 0 calls about `rate` of the majority minority."""
  return _best(records, 'false_positive_rate', lambda value: -abs(value - rate))


RULES: dict[str, Callable[[Records], int]] = {
  'last': last,
  'after_steps': after_steps,
  'best_fed': best_fed,
  'most_stable': most_stable,
  'best_left_out': best_left_out,
  'nearest_false_positive_rate': nearest_false_positive_rate,
}


def _best(records: Records, field: str, judge: Callable[[float], float]) -> int:
  return max(
    (judge(record[field]), record['epoch'])
    for record in records
    if record[field] is not None
  )[1]


def _correlate_ranks(scores: np.ndarray, others: np.ndarray) -> float:
  if np.ptp(scores) == 0 or np.ptp(others) == 0:
    return 0.0
  return float(stats.spearmanr(scores, others).statistic)
