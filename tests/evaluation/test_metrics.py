"""Metrics against scikit-learn, closed forms and the paper's own matrices."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk_metrics

from egan_jax.errors import UserError
from egan_jax.evaluation.metrics import (
  FURTHER_METRICS,
  METRICS,
  PROBABILITY_METRICS,
  best_constant_floor,
  constant_predictor_floor,
  evaluate_probabilities,
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
    'specificity': sk_metrics.recall_score(~is_minority, ~called),
    'accuracy': sk_metrics.accuracy_score(is_minority, called),
    'matthews_correlation': sk_metrics.matthews_corrcoef(is_minority, called),
  }
  names = METRICS + FURTHER_METRICS
  assert {name: result[name] for name in names} == pytest.approx(expected)


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


@pytest.fixture
def noisy():
  """Scores `[300]` of 100 minority and 200 majority images, classes, P(minority)."""
  rng = np.random.default_rng(3)
  is_minority = np.arange(300) < 100
  scores = rng.normal(size=300) - 1.5 * is_minority
  return scores, is_minority, 1 / (1 + np.exp(2 * scores + 1))


def test_a_threshold_is_a_shift_of_the_scores(noisy):
  scores, is_minority, _ = noisy
  shifted = evaluate_scores(scores - 0.75, is_minority)
  assert evaluate_scores(scores, is_minority, threshold=0.75) == pytest.approx(shifted)
  # Strictly below it: a score at the threshold is majority.
  assert evaluate_scores([1.0, 2.0], [1, 0], threshold=1.0)['minority_correct'] == 0


@pytest.mark.parametrize('copies', [2, 7])
def test_a_prior_is_a_test_set_with_more_majority_images(noisy, copies):
  scores, is_minority, probabilities = noisy
  repeats = np.where(is_minority, 1, copies)
  expected = evaluate_scores(
    scores.repeat(repeats),
    is_minority.repeat(repeats),
    0.2,
    probabilities=probabilities.repeat(repeats),
  )
  prior = 100 / (100 + 200 * copies)
  result = evaluate_scores(scores, is_minority, 0.2, prior, probabilities)
  names = METRICS + FURTHER_METRICS + PROBABILITY_METRICS
  for name in names:
    assert result[name] == pytest.approx(expected[name]), name
  # The counts stay those of the images there are.
  assert (result['minority_total'], result['majority_total']) == (100, 200)


@pytest.mark.parametrize('prior', [1 / 501, 0.2, 0.5])
def test_prior_shifted_closed_forms(noisy, prior):
  scores, is_minority, _ = noisy
  result = evaluate_scores(scores, is_minority, prior=prior)
  recall, specificity = result['recall'], result['specificity']
  false_positives = (1 - prior) * (1 - specificity)
  precision = prior * recall / (prior * recall + false_positives)
  assert result['precision'] == pytest.approx(precision)
  f1 = 2 * precision * recall / (precision + recall)
  assert result['f1'] == pytest.approx(f1)
  accuracy = prior * recall + (1 - prior) * specificity
  assert result['accuracy'] == pytest.approx(accuracy)


def test_what_does_not_depend_on_the_prior(noisy):
  scores, is_minority, _ = noisy
  here, rare = (evaluate_scores(scores, is_minority, prior=p) for p in (None, 0.001))
  for name in ('recall', 'specificity', 'balanced_accuracy', 'auroc'):
    assert here[name] == rare[name]
  for name in ('precision', 'f1', 'average_precision'):
    assert rare[name] < here[name]


def test_the_prior_of_the_test_set_changes_nothing(noisy):
  scores, is_minority, probabilities = noisy
  result, expected = (
    evaluate_scores(scores, is_minority, 0.0, prior, probabilities)
    for prior in (1 / 3, None)
  )
  assert result == pytest.approx(expected)


def test_brier_is_the_mean_squared_error_and_certainty_has_none(noisy):
  _, is_minority, probabilities = noisy
  result = evaluate_probabilities(probabilities, is_minority)
  assert result['brier'] == pytest.approx(np.mean((probabilities - is_minority) ** 2))
  certain = evaluate_probabilities(is_minority.astype(float), is_minority)
  assert certain == {'brier': 0.0, 'expected_calibration_error': 0.0}


@pytest.mark.parametrize('prior', [None, 0.5, 1 / 501])
def test_best_constant_floor(prior):
  floor = best_constant_floor(100, 300, prior)
  share = 0.25 if prior is None else prior
  assert floor['accuracy'] == pytest.approx(max(share, 1 - share))
  assert floor['specificity'] == floor['recall'] == 1
  assert floor['matthews_correlation'] == 0
  assert floor['brier'] == pytest.approx(share * (1 - share))
  assert floor['expected_calibration_error'] == pytest.approx(0)
  always_minority = constant_predictor_floor(100, 300, prior)
  assert {name: floor[name] for name in METRICS} == {
    name: always_minority[name] for name in METRICS
  }
  assert floor['f1'] == pytest.approx(2 * share / (1 + share))


@pytest.mark.parametrize('prior', [0, 1, -0.1, 500, np.nan])
def test_a_prior_that_is_no_share_is_refused(noisy, prior):
  scores, is_minority, probabilities = noisy
  with pytest.raises(UserError, match='prior='):
    evaluate_scores(scores, is_minority, prior=prior)
  with pytest.raises(UserError, match='prior='):
    evaluate_probabilities(probabilities, is_minority, prior)
