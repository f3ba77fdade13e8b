"""Which epoch of a game to use, chosen without a test label.

The game oscillates, so the epoch matters. Each rule here reads records of one game,
a dict per epoch, made by `describe_epoch` from scores of training images alone:
majority images held out from the game and, where some are left out, minority images
it was not fed with. Rules are pure functions from records to an epoch; of epochs
that are equally good they take the latest. docs/results.md compares them. The
default, `after_steps`, needs no record: `find_decision_epoch` says it before a game.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from egan_jax.errors import UserError
from egan_jax.evaluation import metrics
from egan_jax.evaluation.checks import check_held_out_scores, check_share

Records = Sequence[Mapping]

# Updates after which a discriminator decides. Measured: docs/results.md, "Which epoch".
DECISION_STEPS = 20


def find_decision_epoch(
  decision_steps: int, num_majority: int, batch_size: int, num_epochs: int
) -> int:
  """The epoch, from 1, whose discriminator decides, known before the game is played.

  Args:
    decision_steps: the first epoch that ends after this many updates decides, the
      last one if none does; 0: the last one.
    num_majority: majority images the game is fed with.
    batch_size: of them per update.
    num_epochs: of the game.

  Raises:
    UserError: decision_steps is negative.
  """
  if decision_steps < 0:
    raise UserError(f'decision_steps={decision_steps}: it must be at least 1, or 0')
  steps_per_epoch = -(-num_majority // batch_size)
  epoch = -(-decision_steps // steps_per_epoch)
  return min(epoch or num_epochs, num_epochs)


def describe_epoch(
  epoch: int,
  steps: int,
  held_out: np.ndarray,
  previous_held_out: np.ndarray | None = None,
  left_out: np.ndarray | None = None,
) -> dict:
  """What training images say about one epoch.

  Args:
    epoch: counted from 1.
    steps: updates of the discriminator by its end.
    held_out: scores `[m]` of majority images that did not train the discriminator.
    previous_held_out: those of the same images one epoch before, if there was one.
    left_out: scores `[k]` of minority images that the game was not fed with.

  Returns:
    `epoch`; `steps`; `false_positive_rate`, the share of held-out majority images with a
    score below 0; `rank_correlation` (Spearman's) of their scores with those one
    epoch before, 0 where one of the two ranks nothing; `left_out_auroc` of the left
    out minority against the held-out majority images. None where the scores it
    takes are missing.

  Raises:
    ValueError: scores are not finite or not of one dimension.
    UserError: there are none.
  """
  held_out = check_held_out_scores('majority', held_out)
  correlation = auroc = None
  if previous_held_out is not None:
    correlation = _correlate_ranks(held_out, np.asarray(previous_held_out))
  if left_out is not None:
    left_out = check_held_out_scores('minority', left_out)
    is_minority = np.arange(len(left_out) + len(held_out)) < len(left_out)
    scores = np.concatenate([left_out, held_out])
    auroc = metrics.evaluate_scores(scores, is_minority)['auroc']
  return {
    'epoch': epoch,
    'steps': steps,
    'false_positive_rate': float(np.mean(held_out < 0)),
    'rank_correlation': correlation,
    'left_out_auroc': auroc,
  }


def last(records: Records) -> int:
  """The last epoch, whatever it is like."""
  return max(record['epoch'] for record in records)


def after_steps(records: Records, steps: int = DECISION_STEPS) -> int:
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
  """The epoch at which the threshold 0 calls about `rate` of the majority minority.

  Raises:
    UserError: the rate is not in (0, 1).
  """
  check_share('rate', rate)
  return _best(records, 'false_positive_rate', lambda value: -abs(value - rate))


RULES: dict[str, Callable[[Records], int]] = {
  'last': last,
  'after_steps': after_steps,
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
