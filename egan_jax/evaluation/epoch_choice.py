"""Which epoch of a game to use, chosen without a test label.

The game oscillates, so the epoch matters. Each rule here reads records of one game,
a dict per epoch, made by `describe_epoch` from scores of training images alone. Rules
are pure functions from records to an epoch; of epochs that are equally good they take
the latest. docs/results.md compares them. The default, `best_fed`, reads only what
every game has: the images it is fed with.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score

from egan_jax.errors import UserError
from egan_jax.evaluation.checks import check_held_out_scores, check_share

Records = Sequence[Mapping]

# Images of a class that a game scores after every epoch, of those it is fed with.
NUM_FED_SCORED = 1000
# Why what `best_fed` decides with promises nothing of new minority images.
MINORITY_CHOSE = (
  'the minority images of a game choose the epoch that ranks them best, so their scores'
  ' do not show how new ones will be scored'
)


def compute_auroc(minority: np.ndarray, majority: np.ndarray) -> float:
  """How well scores `[n]` of the minority and `[m]` of the majority are apart.

  Raises:
    ValueError: scores are not finite or not of one dimension.
    UserError: there are none of a class.
  """
  minority = check_held_out_scores('minority', minority)
  majority = check_held_out_scores('majority', majority)
  is_majority = np.arange(len(minority) + len(majority)) >= len(minority)
  return float(roc_auc_score(is_majority, np.concatenate([minority, majority])))


def describe_epoch(
  epoch: int,
  steps: int,
  held_out: np.ndarray,
  previous_held_out: np.ndarray | None = None,
  left_out: np.ndarray | None = None,
  fed: tuple[np.ndarray, np.ndarray] | None = None,
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
    epoch before, 0 where one of the two ranks nothing; `left_out_auroc` of the left
    out minority against the held-out majority images; `fed_auroc` of those the game
    was fed with. None where the scores it takes are missing.

  Raises:
    ValueError: scores are not finite or not of one dimension.
    UserError: there are none.
  """
  held_out = check_held_out_scores('majority', held_out)
  correlation = None
  if previous_held_out is not None:
    correlation = _correlate_ranks(held_out, np.asarray(previous_held_out))
  return {
    'epoch': epoch,
    'steps': steps,
    'false_positive_rate': float(np.mean(held_out < 0)),
    'rank_correlation': correlation,
    'left_out_auroc': None if left_out is None else compute_auroc(left_out, held_out),
    'fed_auroc': None if fed is None else compute_auroc(*fed),
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


def best_fed(records: Records) -> int:
  """The epoch with the highest AUROC of the images the game is fed with.

  No discriminator sees the minority images among them, only what the generator makes
  of them. That it ranks these below the majority is what the game is played for.
  """
  return _best(records, 'fed_auroc', lambda value: value)


def best_left_out(records: Records) -> int:
  """The epoch with the highest AUROC of left-out minority images."""
  return _best(records, 'left_out_auroc', lambda value: value)


def nearest_false_positive_rate(records: Records, rate: float = 0.05) -> int:
  """The epoch at which the threshold 0 calls about `rate` of the majority minority.

  Raises:
    UserError: the rate is not in (0, 1).
  """
  check_share('rate', rate)
  return _best(records, 'false_positive_rate', lambda value: -abs(value - rate))


RULES: dict[str, Callable[[Records], int]] = {
  'last': last,
  'after_steps': after_steps,
  'best_fed': best_fed,
  'most_stable': most_stable,
  'best_left_out': best_left_out,
  'nearest_false_positive_rate': nearest_false_positive_rate,
}


def choose(rule: str, records: Records) -> int:
  """The epoch that a rule of `RULES` chooses.

  Raises:
    UserError: no such rule, or no record holds what it reads.
    ValueError: no records.
  """
  if rule not in RULES:
    raise UserError(f'unknown rule {rule!r}: choose one of {", ".join(RULES)}')
  if not records:
    raise ValueError('no records to choose an epoch from')
  return RULES[rule](records)


def _best(records: Records, field: str, judge: Callable[[float], float]) -> int:
  judged = [
    (judge(record[field]), record['epoch'])
    for record in records
    if record[field] is not None
  ]
  if not judged:
    raise UserError(f'no epoch has a {field.replace("_", " ")} to choose by')
  return max(judged)[1]


def _correlate_ranks(scores: np.ndarray, others: np.ndarray) -> float:
  if np.ptp(scores) == 0 or np.ptp(others) == 0:
    return 0.0
  return float(stats.spearmanr(scores, others).statistic)
