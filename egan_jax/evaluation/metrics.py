"""Test metrics of one fold at one epoch.

The sign convention, here and everywhere: the discriminator's score of an image is
a logit, and **score < 0 means minority, anything else majority** (paper section 4).
The minority is the positive class, so a ranking of images goes by `-score`.
"""

import numpy as np
from sklearn import metrics as sk_metrics

METRICS = (
  'precision',
  'recall',
  'f1',
  'balanced_accuracy',
  'auroc',
  'average_precision',
)


def evaluate_scores(scores: np.ndarray, is_minority: np.ndarray) -> dict:
  """Counts and metrics of scores on a test set, judged at the threshold 0.

  Args:
    scores: `[N]` finite discriminator logits.
    is_minority: `[N]` bool, true (or 1) where the image is of the minority class.

  Returns:
    `minority_correct`, `minority_total`, `majority_correct`, `majority_total` as
    ints; `precision`, `recall`, `f1`, `balanced_accuracy`, `auroc`,
    `average_precision` as floats in [0, 1]. Where no image is called minority,
    precision and F1 are 0.

  Raises:
    ValueError: shapes differ, a score is not finite, or a class has no image.
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

  called_minority = scores < 0
  minority_correct = int((called_minority & is_minority).sum())
  minority_total = int(is_minority.sum())
  majority_correct = int((~called_minority & ~is_minority).sum())
  majority_total = int((~is_minority).sum())
  precision, recall, f1, _ = sk_metrics.precision_recall_fscore_support(
    is_minority, called_minority, average='binary', zero_division=0
  )
  return {
    'minority_correct': minority_correct,
    'minority_total': minority_total,
    'majority_correct': majority_correct,
    'majority_total': majority_total,
    'precision': float(precision),
    'recall': float(recall),
    'f1': float(f1),
    'balanced_accuracy': (float(recall) + majority_correct / majority_total) / 2,
    'auroc': float(sk_metrics.roc_auc_score(is_minority, -scores)),
    'average_precision': float(
      sk_metrics.average_precision_score(is_minority, -scores)
    ),
  }


def constant_predictor_floor(num_minority: int, num_majority: int) -> dict:
  """What "always minority" scores on a test set of these sizes.

  No training is needed to reach it: on a balanced test set its F1 is 2/3, the
  recall 1, everything else 1/2. The paper's best F1 is 0.69 at 1:2500.

  Returns:
    A dict as of `evaluate_scores`.

  Raises:
    ValueError: a class has no image.
  """
  is_minority = np.arange(num_minority + num_majority) < num_minority
  return evaluate_scores(np.full(is_minority.size, -1.0), is_minority)
