"""Metrics against scikit-learn, closed forms and the paper's own matrices."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk_metrics

from egan_jax.evaluation.metrics import (
  METRICS,
  constant_predictor_floor,
  evaluate_scores,
)


@pytest.fixture(autouse=True)
def _warnings_are_errors():
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    yield


def scores_from_counts(
  minority_correct, minority_total, majority_correct, majority_total
):
  """Scores of -1 and 1 with this confusion matrix, and the classes."""
  is_minority = np.arange(minority_total + majority_total) < minority_total
  called_minority = np.concatenate(
    [
      np.arange(minority_total) < minority_correct,
      np.arange(majority_total) >= majority_correct,
    ]
  )
  return np.where(called_minority, -1.0, 1.0), is_minority


@pytest.mark.parametrize('seed', range(20))
def test_agrees_with_scikit_learn(seed):
  rng = np.random.default_rng(seed)
  is_minority = rng.random(200) < rng.uniform(0.05, 0.95)
  is_minority[:2] = True, False
  scores = rng.normal(size=200).astype(np.float32) - is_minority
  if seed % 2:
    scores = scores.round()  # many ties, some of them at the threshold
  result = evaluate_scores(scores, is_minority)

  called = scores < 0
  counts = sk_metrics.confusion_matrix(is_minority, called, labels=[True, False])
  assert counts.tolist() == [
    [result['minority_correct'], result['minority_total'] - result['minority_correct']],
    [result['majority_total'] - result['majority_correct'], result['majority_correct']],
  ]
  expected = {
    'precision': sk_metrics.precision_score(is_minority, called, zero_division=0),
    'recall': sk_metrics.recall_score(is_minority, called),
    'f1': sk_metrics.f1_score(is_minority, called, zero_division=0),
    'balanced_accuracy': sk_metrics.balanced_accuracy_score(is_minority, called),
    'auroc': sk_metrics.roc_auc_score(is_minority, -scores),
    'average_precision': sk_metrics.average_precision_score(is_minority, -scores),
  }
  assert {name: result[name] for name in METRICS} == pytest.approx(expected)


@pytest.mark.parametrize(
  'counts, expected',
  [
    # Paper Table 1 (1:1000) and Table 2 (1:2500).
    ((810, 1000, 634, 1000), (810 / 1176, 0.810, 2 * 810 / (1000 + 1176), 0.722)),
    ((821, 1000, 233, 1000), (821 / 1588, 0.821, 2 * 821 / (1000 + 1588), 0.527)),
    ((3, 4, 10, 12), (3 / 5, 3 / 4, 6 / 9, (3 / 4 + 10 / 12) / 2)),
  ],
)
def test_hand_made_confusion_matrices(counts, expected):
  result = evaluate_scores(*scores_from_counts(*counts))
  assert (
    result['minority_correct'],
    result['minority_total'],
    result['majority_correct'],
    result['majority_total'],
  ) == counts
  names = 'precision', 'recall', 'f1', 'balanced_accuracy'
  assert [result[name] for name in names] == pytest.approx(expected)
  # Scores of two values make a ROC curve of one corner.
  assert result['auroc'] == pytest.approx(result['balanced_accuracy'])


def test_negative_means_minority_and_zero_means_majority():
  result = evaluate_scores([-0.5, -1e-30, 0.0, 2.0], [1, 1, 0, 0])
  assert [result[name] for name in METRICS] == [1.0] * 6
  assert evaluate_scores([0.0, 1.0], [1, 0])['minority_correct'] == 0
  assert evaluate_scores([0.5, -0.5], [1, 0])['auroc'] == 0.0


def test_ranking_ignores_the_threshold_and_decisions_do_not():
  rng = np.random.default_rng(0)
  is_minority = np.arange(100) < 40
  scores = rng.normal(size=100) - is_minority
  result, shifted = (evaluate_scores(s, is_minority) for s in (scores, scores + 10))
  assert shifted['auroc'] == result['auroc']
  assert shifted['average_precision'] == result['average_precision']
  assert shifted['recall'] == 0.0 < result['recall']


def test_always_majority_scores_zero_without_a_warning():
  # What the sigmoid head of Fig. 5 gives: a score that is never below 0.
  result = evaluate_scores(np.full(10, 0.5), np.arange(10) < 5)
  assert (result['precision'], result['recall'], result['f1']) == (0.0, 0.0, 0.0)
  assert result['balanced_accuracy'] == result['auroc'] == 0.5


@pytest.mark.parametrize(
  'num_minority, num_majority', [(1000, 1000), (100, 100), (5, 95)]
)
def test_constant_predictor_floor(num_minority, num_majority):
  floor = constant_predictor_floor(num_minority, num_majority)
  share = num_minority / (num_minority + num_majority)
  assert floor['f1'] == pytest.approx(2 * share / (share + 1))
  assert floor['precision'] == floor['average_precision'] == pytest.approx(share)
  assert (floor['recall'], floor['balanced_accuracy'], floor['auroc']) == (1, 0.5, 0.5)
  if num_minority == num_majority:
    assert floor['f1'] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
  'scores, is_minority, message',
  [
    ([np.nan, 1.0], [1, 0], 'not finite'),
    ([-np.inf, 1.0], [1, 0], 'not finite'),
    ([1.0, 2.0, 3.0], [1, 0], r'must both be \[N\]'),
    ([[1.0, 2.0]], [[1, 0]], r'must both be \[N\]'),
    ([1.0, 2.0], [0, 0], 'both classes'),
    ([1.0, 2.0], [1, 1], 'both classes'),
  ],
)
def test_refuses_what_has_no_metrics(scores, is_minority, message):
  with pytest.raises(ValueError, match=message):
    evaluate_scores(scores, is_minority)
