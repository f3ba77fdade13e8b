"""Test metrics of one fold at one epoch, in the test set's world or in any other.

The sign convention, here and everywhere: the discriminator's score of an image is
a logit, and **score < 0 means minority, anything else majority** (paper section 4).
The minority is the positive class, so a ranking of images goes by `-score`. Another
threshold t moves the cut and nothing else: score < t means minority.
"""

import numpy as np
from sklearn import metrics as sk_metrics

from egan_jax.checks import check_share
from egan_jax.evaluation import reliability

METRICS = (
  'precision',
  'recall',
  'f1',
  'balanced_accuracy',
  'auroc',
  'average_precision',
)
# Of decisions too, but not among the figures a run quotes.
FURTHER_METRICS = ('specificity', 'accuracy', 'matthews_correlation')
# Of P(minority); the lower the better.
PROBABILITY_METRICS = ('brier', 'expected_calibration_error')


def evaluate_scores(
  scores: np.ndarray,
  is_minority: np.ndarray,
  threshold: float = 0.0,
  prior: float | None = None,
  probabilities: np.ndarray | None = None,
) -> dict:
  """Counts and metrics of scores on a test set.

  Recall, specificity, balanced accuracy and AUROC are the same at any prior; the
  others are not. A test set of 1,000 + 1,000 images speaks about a world of 1:500
  with `prior=1/501`: each class is weighted to its share there (label shift: the
  images of a class are taken to look alike in both worlds).

  Args:
    scores: `[N]` finite discriminator logits.
    is_minority: `[N]` bool, true (or 1) where the image is of the minority class.
    threshold: a score below it means minority.
    prior: share of the minority in the world asked about, in (0, 1); by default
      that of the test set.
    probabilities: `[N]` P(minority) in that world, in [0, 1]; adds
      `PROBABILITY_METRICS`.

  Returns:
    `minority_correct`, `minority_total`, `majority_correct`, `majority_total` (the
    confusion matrix) as ints; `METRICS`, `FURTHER_METRICS` and, if asked for,
    `PROBABILITY_METRICS` as floats in [0, 1], Matthews correlation in [-1, 1].
    Where no image is called minority, precision and F1 are 0; where all or none
    are, so is Matthews correlation.

  Raises:
    ValueError: shapes differ, a score is not finite, or a class has no image.
    UserError: the prior is not in (0, 1).
  """
  scores = np.asarray(scores, np.float64)
  is_minority = np.asarray(is_minority, bool)
  if scores.ndim != 1 or scores.shape != is_minority.shape:
    raise ValueError(
      f'scores {scores.shape} and is_minority {is_minority.shape} must both be [N]'
    )
  if not np.isfinite(scores).all():
    raise ValueError(f'{(~np.isfinite(scores)).sum()} of the scores are not finite')
  if is_minority.all() or not is_minority.any():
    raise ValueError('the test set must hold images of both classes')

  weights = None if prior is None else weigh_classes(is_minority, prior)
  called_minority = scores < threshold
  minority_correct = int((called_minority & is_minority).sum())
  minority_total = int(is_minority.sum())
  majority_correct = int((~called_minority & ~is_minority).sum())
  majority_total = int((~is_minority).sum())
  precision, recall, f1, _ = sk_metrics.precision_recall_fscore_support(
    is_minority,
    called_minority,
    average='binary',
    zero_division=0,
    sample_weight=weights,
  )
  specificity = majority_correct / majority_total
  result = {
    'minority_correct': minority_correct,
    'minority_total': minority_total,
    'majority_correct': majority_correct,
    'majority_total': majority_total,
    'precision': float(precision),
    'recall': float(recall),
    'f1': float(f1),
    'balanced_accuracy': (float(recall) + specificity) / 2,
    'auroc': float(sk_metrics.roc_auc_score(is_minority, -scores)),
    'average_precision': float(
      sk_metrics.average_precision_score(is_minority, -scores, sample_weight=weights)
    ),
    'specificity': specificity,
    'accuracy': float(
      sk_metrics.accuracy_score(is_minority, called_minority, sample_weight=weights)
    ),
    'matthews_correlation': float(
      sk_metrics.matthews_corrcoef(is_minority, called_minority, sample_weight=weights)
    ),
  }
  if probabilities is not None:
    result |= evaluate_probabilities(probabilities, is_minority, prior)
  return result


def evaluate_probabilities(
  probabilities: np.ndarray, is_minority: np.ndarray, prior: float | None = None
) -> dict:
  """`PROBABILITY_METRICS` of P(minority) `[N]`; arguments as of `evaluate_scores`."""
  is_minority = np.asarray(is_minority, bool)
  weights = None if prior is None else weigh_classes(is_minority, prior)
  diagram = reliability.diagram(probabilities, is_minority, weights)
  return {
    'brier': float(
      sk_metrics.brier_score_loss(is_minority, probabilities, sample_weight=weights)
    ),
    'expected_calibration_error': reliability.expected_calibration_error(diagram),
  }


def weigh_classes(is_minority: np.ndarray, prior: float) -> np.ndarray:
  """Example weights `[N]`, of sum N, that give the minority the share `prior`.

  Raises:
    UserError: the prior is not in (0, 1).
  """
  check_share('prior', prior)
  share = np.mean(is_minority)
  return np.where(is_minority, prior / share, (1 - prior) / (1 - share))


def constant_predictor_floor(
  num_minority: int, num_majority: int, prior: float | None = None
) -> dict:
  """What "always minority" scores on a test set of these sizes.

  No training is needed to reach it: on a balanced test set its F1 is 2/3, the
  recall 1, everything of `METRICS` else 1/2. The paper's abstract has 0.69.

  Returns:
    A dict as of `evaluate_scores`.

  Raises:
    ValueError: a class has no image.
    UserError: the prior is not in (0, 1).
  """
  is_minority = np.arange(num_minority + num_majority) < num_minority
  return evaluate_scores(np.full(is_minority.size, -1.0), is_minority, prior=prior)


def best_constant_floor(
  num_minority: int, num_majority: int, prior: float | None = None
) -> dict:
  """Per metric, the best that no look at the images can do: what a result must beat.

  The better of "always minority" and "always majority" (which has an accuracy of
  0.998 at 1:500), and for `PROBABILITY_METRICS` a P(minority) that is always the
  prior.

  Returns:
    `METRICS`, `FURTHER_METRICS` and `PROBABILITY_METRICS` as floats.

  Raises:
    ValueError: a class has no image.
    UserError: the prior is not in (0, 1).
  """
  is_minority = np.arange(num_minority + num_majority) < num_minority
  minority, majority = (
    evaluate_scores(np.full(is_minority.size, score), is_minority, prior=prior)
    for score in (-1.0, 1.0)
  )
  share = is_minority.mean() if prior is None else prior
  return {
    **{name: max(minority[name], majority[name]) for name in METRICS + FURTHER_METRICS},
    **evaluate_probabilities(np.full(is_minority.size, share), is_minority, prior),
  }
