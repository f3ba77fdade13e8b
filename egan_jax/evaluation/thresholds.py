"""Where to cut the scores without a minority validation set, and what that promises.

Every rule reads scores of training images only, held out from the scorer, and
returns a `Threshold`: score < value means minority, as everywhere. Two rules carry
a guarantee that no assumption about the shape of the scores goes into. Both rest
on order statistics; a library of conformal predictors would replace a line each.
The others are as good as the model of the scores that they are given.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np
from scipy import stats
from scipy.special import expit

from egan_jax.checks import check_cost, check_held_out_scores, check_share
from egan_jax.errors import UserError
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.score_models import ScoreModel


@dataclasses.dataclass(frozen=True)
class Threshold:
  """A cut, and how far it can be relied on.

  Attributes:
    value: a score below it means minority. May be infinite.
    rule: the name of the rule that chose it.
    promise: in words, what holds for new images and on what condition.
  """

  value: float
  rule: str
  promise: str

  def calls_minority(self, scores: np.ndarray) -> np.ndarray:
    """Bool `[N]` of scores `[N]`."""
    return np.asarray(scores, np.float64) < self.value


@dataclasses.dataclass(frozen=True)
class AbstainRegion:
  """Two cuts with a region between them in which no class is named.

  Attributes:
    minority: a score below its value means minority.
    majority: a score of its value or more means majority; at least `minority`.
  """

  minority: Threshold
  majority: Threshold

  def decide(self, scores: np.ndarray) -> np.ndarray:
    """'minority', 'majority' or 'abstain' for each of scores `[N]`."""
    return np.where(
      self.minority.calls_minority(scores),
      'minority',
      np.where(self.majority.calls_minority(scores), 'abstain', 'majority'),
    )


def zero() -> Threshold:
  """The paper's cut (section 4): score < 0 means minority."""
  return Threshold(
    0.0, 'zero', 'none: no image was asked where specificity or sensitivity would lie'
  )


def target_specificity(
  majority_scores: np.ndarray, specificity: float = 0.95, num_folds: int | None = None
) -> Threshold:
  """Split- or cross-conformal: new majority images are called majority at the rate asked for.

  Of n held-out scores the k-th smallest, k = n + 1 - ceil((n + 1) * specificity),
  is the cut. A new majority score is equally likely to have any rank among the
  n + 1, so it is below the cut with probability k / (n + 1) at most (exactly, if
  scores never tie) (Papadopoulos et al., "Inductive confidence machines for
  regression", 2002; Vovk, "Conditional validity of inductive conformal predictors",
  2012). That is an average over held-out sets: given one, the specificity is
  distributed as Beta(n + 1 - k, k) if scores never tie, and no lower if they do.

  All that is for scores of one scorer, the one in use. With `num_folds` each fold
  was scored by a fit on the others, and the one in use was fitted on all of them:
  every image helps to fit and to choose, but the guarantee becomes an expectation,
  and even a decision by those fits themselves has only the bound of CV+ (Barber et
  al., "Predictive inference with the jackknife+", 2021, theorem 4).

  Args:
    majority_scores: `[n]` of majority images, none by a scorer that it trained.
    specificity: share of majority images to be called majority, in (0, 1).
    num_folds: of how many fits the scores are; None for the one in use.

  Raises:
    UserError: n is too small for the level, or the level is not in (0, 1).
    ValueError: scores are not finite.
  """
  scores = np.sort(check_held_out_scores('majority', majority_scores))
  needed = count_needed_for_specificity(specificity)
  n = len(scores)
  if n < needed:
    raise UserError(
      f'a specificity of {specificity} needs at least {needed} held-out majority'
      f' scores and there are {n}; hold out more, or ask for at most {highest_specificity(n)}'
    )
  k = n + 1 - math.ceil((n + 1) * _exactly(specificity))
  if num_folds is not None:
    promise = _describe_cross_conformal(n, k, num_folds)
    return Threshold(float(scores[k - 1]), 'target_specificity', promise)
  low = stats.beta.ppf(0.05, n + 1 - k, k)
  return Threshold(
    float(scores[k - 1]),
    'target_specificity',
    'a new majority image is called majority with probability'
    f' {_floor(Fraction(n + 1 - k, n + 1), 4)} or more, averaged over draws of the {n}'
    f' held-out majority images; in 95 of 100 draws with {_floor(low, 4)} or more. It'
    ' holds if new images are like those and those did not train the scorer. Of'
    ' minority images it says nothing',
  )


def _describe_cross_conformal(n: int, k: int, num_folds: int) -> str:
  alpha = k / (n + 1)
  excess = min(
    2 * (1 - 1 / num_folds) / (n / num_folds + 1), (1 - num_folds / n) / (num_folds + 1)
  )
  return (
    f'a new majority image is called majority with probability of about {1 - alpha:.4f},'
    f' which is expected, not guaranteed: the {n} majority images were scored by'
    f' {num_folds} fits, each without those it scored, and one more fit, on all of'
    ' them, decides. It holds as far as that scores like the others and new images are'
    f' like those; for the {num_folds} fits themselves the bound is'
    f' {_floor(max(1 - 2 * alpha - excess, 0), 4)}. Of minority images it says nothing'
  )


def count_needed_for_specificity(specificity: float) -> int:
  """How many held-out majority scores a specificity in (0, 1) takes: 19 for 0.95."""
  check_share('specificity', specificity)
  return math.ceil(1 / (1 - _exactly(specificity))) - 1


def highest_specificity(num_scores: int) -> float:
  """The most that so many held-out majority scores can promise, in thousandths."""
  return _floor(Fraction(num_scores, num_scores + 1))


def target_sensitivity(
  minority_scores: np.ndarray, sensitivity: float, confidence: float = 0.95
) -> Threshold:
  """New minority images are found at the rate asked for, with a confidence.

  The cut is put just above the k-th smallest of n scores, with the smallest k whose
  Clopper-Pearson lower limit (exact, one-sided) for k of n reaches the rate. That
  limit holds although the scores choose the cut: the share of the minority below
  the k-th smallest score is distributed as Beta(k, n + 1 - k), whose quantile the
  limit is (Wilks, "Determination of sample sizes for setting tolerance limits",
  1941).

  Args:
    minority_scores: `[n]` of minority images, each by a scorer that it did not
      train. The limit is exact for images scored by the scorer in use. Those left
      out of fits in turn are scored by others, each with fewer images: then it is
      as good as these are like the one in use.
    sensitivity: share of minority images to be called minority, in (0, 1).
    confidence: how sure to be of that, in (0, 1).

  Raises:
    UserError: n is too small for the level, or a level is not in (0, 1). The
      message says what n images can promise, and how many it takes.
    ValueError: scores are not finite.
  """
  needed = count_needed_for_sensitivity(sensitivity, confidence)
  scores = np.sort(check_held_out_scores('minority', minority_scores))
  n = len(scores)
  # Clopper-Pearson's lower limit for 1, ..., n of n; it grows with k.
  limits = stats.beta.ppf(1 - confidence, np.arange(1, n + 1), np.arange(n, 0, -1))
  if n < needed:
    raise UserError(
      f'{n} minority scores cannot promise a sensitivity of {sensitivity}: at a'
      f' confidence of {confidence} they promise at most {_floor(limits[-1])}, and it'
      f' takes {needed} minority images; ask for less, or set the specificity instead'
    )
  k = int(np.searchsorted(limits[:-1], sensitivity)) + 1
  precision = np.result_type(scores, np.float32)
  return Threshold(
    # The next number of the scores' own precision, so that k of them are below it.
    float(np.nextafter(scores[k - 1], np.inf, dtype=precision)),
    'target_sensitivity',
    'a new minority image is called minority with probability'
    f' {_floor(limits[k - 1], 4)} or'
    f' more, at a confidence of {confidence} over draws of the {n} minority images'
    f' ({k} of them are below the cut). It holds if new images are like those and'
    ' none was scored by what it trained; where each was scored by a fit without it,'
    ' as far as those fits are like the one in use. Of majority images it says nothing',
  )


def count_needed_for_sensitivity(sensitivity: float, confidence: float = 0.95) -> int:
  """How many minority scores a sensitivity takes: 29 for 0.9 at 0.95."""
  check_share('sensitivity', sensitivity)
  check_share('confidence', confidence)
  missed = 1 - _exactly(confidence)
  # Where a number of images meets the confidence exactly, rounding asks for no more.
  return math.ceil(math.log(missed) / math.log(sensitivity) * (1 - 1e-12))


def minimum_cost(
  calibration: Calibration,
  cost_false_negative: float,
  cost_false_positive: float,
  prior: float,
) -> Threshold:
  """The cheapest decision if P(minority) is right: Bayes' rule.

  Minority is called where P(minority) * cost_false_negative is greater than
  P(majority) * cost_false_positive (Elkan, "The foundations of cost-sensitive
  learning", 2001).

  Args:
    calibration: turns scores into P(minority).
    cost_false_negative: of a minority image called majority; only the ratio of the
      costs matters.
    cost_false_positive: of a majority image called minority.
    prior: share of the minority where the decision is made, in (0, 1).

  Raises:
    UserError: a cost is not positive and finite, or the prior not in (0, 1).
  """
  check_cost('cost_false_negative', cost_false_negative)
  check_cost('cost_false_positive', cost_false_positive)
  # Of extreme costs the probability rounds to 0 or 1.
  log_odds = math.log(cost_false_positive) - math.log(cost_false_negative)
  return Threshold(
    calibration.score_of(log_odds, prior),
    'minimum_cost',
    f'the lowest expected cost at a prior of {prior} and costs of'
    f' {cost_false_negative} to {cost_false_positive}, calling minority where'
    f' P(minority) > {expit(log_odds):.4g}, as far as P(minority) is right'
    f' ({calibration.promise})',
  )


def expected_f1(
  majority_scores: np.ndarray, minority: ScoreModel, prior: float = 0.5
) -> Threshold:
  """The cut with the highest F1 of the minority, as far as its scores are as modelled.

  F1 of the expected rates: 2 p r / (p r + (1 - p) f + p) at prior p, with the recall
  r of the model and the share f of false alarms by the majority's order statistics:
  a new majority score is below the k-th smallest of n with probability k / (n + 1)
  at most. Between two of them only the recall grows, so one of them is the cut, or
  infinity, where all are called minority.

  Args:
    majority_scores: `[n]` of majority images, none by a scorer that it trained.
    minority: how the minority's scores are spread.
    prior: share of the minority where the decision is made, in (0, 1).

  Raises:
    UserError: there is no majority score, or the prior is not in (0, 1).
    ValueError: scores are not finite.
  """
  check_share('prior', prior)
  scores = np.sort(check_held_out_scores('majority', majority_scores))
  n = len(scores)
  cuts = np.append(scores.astype(np.float64), np.inf)
  found = prior * minority.share_below(cuts)
  alarms = (1 - prior) * np.arange(1, n + 2) / (n + 1)
  f1 = 2 * found / (found + alarms + prior)
  best = int(np.argmax(f1))
  return Threshold(
    float(cuts[best]),
    'expected_f1',
    f'none: at a prior of {prior} an F1 of {f1[best]:.3f} is expected, with recall'
    f' {found[best] / prior:.3f} and specificity {1 - (best + 1) / (n + 1):.3f}, if'
    f' scores of new minority images are {minority.basis} and those of new majority'
    f' images like the {n} held-out ones',
  )


def abstain_between(specificity: Threshold, sensitivity: Threshold) -> AbstainRegion:
  """Keeps both promises by naming no class where they contradict each other.

  Args:
    specificity: of `target_specificity`; minority is called below it only.
    sensitivity: of `target_sensitivity`; majority is called from it on only. If it
      is the lower one, both promises hold at either cut, nothing is left open, and
      the cut is that of the specificity.
  """
  if sensitivity.value <= specificity.value:
    return AbstainRegion(specificity, specificity)
  return AbstainRegion(specificity, sensitivity)


def _exactly(share: float) -> Fraction:
  """The number that was written: 0.9 is nine tenths, not the nearest double."""
  return Fraction(repr(float(share)))


def _floor(share: float | Fraction, digits: int = 3) -> float:
  """So many digits, never rounded up to more than can be had."""
  return math.floor(share * 10**digits) / 10**digits
