"""How sure a figure is: over test images of one scorer, and over draws of training.

The two are different questions. An interval over test images says nothing about
what other training images or another seed would have given.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from egan_jax.checks import check_share
from egan_jax.evaluation import metrics

_COUNTS = {
  'recall': ('minority_correct', 'minority_total'),
  'specificity': ('majority_correct', 'majority_total'),
}
_BOOTSTRAPPED = 'auroc', 'average_precision', 'brier'
_FEWEST_FOR_BOOTSTRAP = 30  # images of each class
_NUM_POSTERIOR_DRAWS = 10_000
_NAMES = (*metrics.METRICS, *metrics.FURTHER_METRICS, *metrics.PROBABILITY_METRICS)


def over_test_images(
  scores: np.ndarray,
  is_minority: np.ndarray,
  threshold: float = 0.0,
  prior: float | None = None,
  probabilities: np.ndarray | None = None,
  confidence: float = 0.95,
  num_resamples: int = 1000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """Two-sided confidence intervals of a scorer's metrics on a test set.

  Recall and specificity are shares of independent images: Clopper-Pearson, exact
  even where all are right. What follows from these two, such as F1, has the percentiles
  of their posteriors under Jeffreys's prior (Brown, Cai & DasGupta, "Interval estimation
  for a binomial proportion", 2001). The ranking's and the Brier score take the standard
  error of a bootstrap that resamples within each class (Efron & Tibshirani, "An
  introduction to the bootstrap", 1993, chapters 6 and 8), because the numbers of test
  images were chosen and not observed. They are normal on the scale of log odds (Boyd,
  Eng & Page, "Area under the precision-recall curve: point estimates and confidence
  intervals", 2013): near a perfect ranking percentiles miss the truth one time in six,
  and these still one time in eight with 30 minority images among many. It takes 30
  images of each class: of 10 it misses the truth one time in five. Without an error it
  has no width, and tells nothing. In both cases it is left out. The expected calibration
  error has none: resampling adds to its bias, so that its interval often lies above it.

  Args:
    scores: as of `metrics.evaluate_scores`, like the four that follow.
    is_minority: see there.
    threshold: see there.
    prior: see there.
    probabilities: see there.
    confidence: of each interval alone, in (0, 1).
    num_resamples: of the bootstrap; about 6 s per 1,000 of 2,000 test images on one
      core.
    seed: of all that is drawn.

  Returns:
    For each metric the `value` on the test set and, if they are known, `low` and `high`.

  Raises:
    ValueError: as of `evaluate_scores`.
    UserError: as of `evaluate_scores`, or the confidence is not in (0, 1).
  """
  check_share('confidence', confidence)
  scores, is_minority = np.asarray(scores), np.asarray(is_minority, bool)
  classes = [np.flatnonzero(is_minority == one) for one in (True, False)]

  def evaluate(chosen):
    return metrics.evaluate_scores(
      scores[chosen],
      is_minority[chosen],
      threshold,
      prior,
      None if probabilities is None else np.asarray(probabilities)[chosen],
    )

  values = evaluate(np.arange(len(scores)))
  result = {name: {'value': values[name]} for name in _NAMES if name in values}
  tail = (1 - confidence) / 2
  rng = np.random.default_rng(seed)

  share = np.mean(is_minority) if prior is None else prior
  rates = []
  for name, (correct, total) in _COUNTS.items():
    correct, total = values[correct], values[total]
    exact = stats.binomtest(correct, total).proportion_ci(confidence)
    result[name] |= {'low': float(exact.low), 'high': float(exact.high)}
    rates.append(rng.beta(correct + 0.5, total - correct + 0.5, _NUM_POSTERIOR_DRAWS))
  for name, drawn in _evaluate_rates(*rates, share).items():
    low, high = np.quantile(drawn, [tail, 1 - tail])
    # Where there is no error, the figure itself is beyond any percentile.
    low, high = min(low, values[name]), max(high, values[name])
    result[name] |= {'low': float(low), 'high': float(high)}

  bootstrapped = [name for name in _BOOTSTRAPPED if name in result]
  if min(map(len, classes)) < _FEWEST_FOR_BOOTSTRAP:
    return result
  resampled = []
  for _ in range(num_resamples):
    chosen = np.concatenate([rng.choice(images, len(images)) for images in classes])
    resample = evaluate(chosen)
    resampled.append([resample[name] for name in bootstrapped])
  for name, error in zip(bootstrapped, np.std(resampled, axis=0), strict=True):
    if not np.isclose(error, 0):
      value = values[name]
      margin = stats.norm.ppf(1 - tail) * error / (value * (1 - value))
      low, high = expit(logit(value) + np.array([-margin, margin]))
      result[name] |= {'low': float(low), 'high': float(high)}
  return result


def _evaluate_rates(
  recall: np.ndarray, specificity: np.ndarray, share: float
) -> dict[str, np.ndarray]:
  """The metrics `[D]` that follow from rates `[D]` where the minority is that share."""
  found, alarms = share * recall, (1 - share) * (1 - specificity)
  called = found + alarms
  informedness = recall + specificity - 1
  return {
    'precision': found / called,
    'f1': 2 * found / (called + share),
    'balanced_accuracy': (recall + specificity) / 2,
    'accuracy': found + (1 - share) * specificity,
    'matthews_correlation': informedness
    * np.sqrt(share * (1 - share) / (called * (1 - called))),
  }


def over_draws(results: Sequence[Mapping[str, float]]) -> dict[str, dict]:
  """Mean, spread and worst of each metric over draws, folds or seeds.

  Args:
    results: one dict per draw, as of `metrics.evaluate_scores`.

  Returns:
    For each metric that all have: `mean`, `std` (n - 1; None for one draw), `worst`
    (the highest for `PROBABILITY_METRICS`, else the lowest) and `num_draws`.

  Raises:
    ValueError: no results.
  """
  if not results:
    raise ValueError('no results to summarise')
  summary = {}
  for name in _NAMES:
    if all(name in result for result in results):
      values = np.array([result[name] for result in results], np.float64)
      worst = max if name in metrics.PROBABILITY_METRICS else min
      summary[name] = {
        'mean': float(values.mean()),
        'std': float(values.std(ddof=1)) if len(values) > 1 else None,
        'worst': float(worst(values)),
        'num_draws': len(values),
      }
  return summary
