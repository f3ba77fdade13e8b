"""Intervals against scipy and closed forms."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logit

from egan_jax.evaluation import metrics
from egan_jax.evaluation.intervals import (
  _evaluate_rates,
  over_draws,
  over_test_images,
)


def _draw(seed, num_minority=60, num_majority=90):
  rng = np.random.default_rng(seed)
  is_minority = np.arange(num_minority + num_majority) < num_minority
  return rng.normal(size=len(is_minority)) - 1.2 * is_minority, is_minority


@pytest.fixture(scope='module')
def example():
  scores, is_minority = _draw(0)
  probabilities = 1 / (1 + np.exp(scores))
  intervals = over_test_images(
    scores, is_minority, 0.1, 0.2, probabilities, num_resamples=250
  )
  return scores, is_minority, probabilities, intervals


def test_values_are_those_of_the_test_set_and_lie_within(example):
  scores, is_minority, probabilities, intervals = example
  values = metrics.evaluate_scores(scores, is_minority, 0.1, 0.2, probabilities)
  assert set(intervals) == {
    *metrics.METRICS,
    *metrics.FURTHER_METRICS,
    *metrics.PROBABILITY_METRICS,
  }
  # Biased upwards, and more so resampled.
  biased = intervals['expected_calibration_error']
  assert biased == {'value': values['expected_calibration_error']}
  for name, interval in intervals.items():
    assert interval['value'] == values[name]
    if interval is not biased:
      assert interval['low'] < interval['value'] < interval['high']


@pytest.mark.parametrize('shift', [1.2, 3.0])
def test_the_bootstrap_has_scipys_standard_error_on_the_scale_of_log_odds(shift):
  scores, is_minority = _draw(0)
  scores -= (shift - 1.2) * is_minority
  got = over_test_images(scores, is_minority, num_resamples=400)['auroc']

  def auroc(minority, majority, axis):
    assert axis == -1
    below = minority[..., :, None] < majority[..., None, :]
    return below.mean(axis=(-2, -1))

  error = stats.bootstrap(
    (scores[is_minority], scores[~is_minority]),
    auroc,
    n_resamples=1000,
    method='percentile',
    rng=1,
  ).standard_error
  value = got['value']
  margin = 1.96 * error / (value * (1 - value))
  assert logit([got['low'], got['high']]) == pytest.approx(
    logit(value) + np.array([-margin, margin]), abs=0.15 * margin
  )


def test_recall_and_specificity_are_exact(example):
  scores, is_minority, _, intervals = example
  counts = metrics.evaluate_scores(scores, is_minority, 0.1)
  for name, correct, total in [
    ('recall', counts['minority_correct'], 60),
    ('specificity', counts['majority_correct'], 90),
  ]:
    expected = (
      stats.beta.ppf(0.025, correct, total - correct + 1),
      stats.beta.ppf(0.975, correct + 1, total - correct),
    )
    assert (intervals[name]['low'], intervals[name]['high']) == pytest.approx(expected)


def test_no_error_on_few_images_is_not_certainty():
  is_minority = np.arange(30) < 10
  intervals = over_test_images(-1.0 * is_minority, is_minority, -0.5, num_resamples=10)
  assert intervals['recall']['low'] == pytest.approx(0.025 ** (1 / 10))
  assert intervals['specificity']['low'] == pytest.approx(0.025 ** (1 / 20))
  assert intervals['recall']['high'] == 1
  f1 = intervals['f1']
  assert f1['low'] < 0.95 and f1['high'] == f1['value'] == 1
  assert intervals['auroc'] == {'value': 1}  # what a bootstrap says of it is nothing


@pytest.mark.parametrize('num_minority', [1, 3, 10])
def test_intervals_of_few_images_hold_the_truth_as_often_as_they_say(num_minority):
  threshold, prior = -1.645, 0.1
  recall, specificity = stats.norm.cdf(threshold + 3), stats.norm.sf(threshold)
  found, alarms = prior * recall, (1 - prior) * (1 - specificity)
  truth = {
    'balanced_accuracy': (recall + specificity) / 2,
    'precision': found / (found + alarms),
    'f1': 2 * found / (found + alarms + prior),
    'accuracy': found + (1 - prior) * specificity,
  }
  rng = np.random.default_rng(num_minority)
  is_minority = np.arange(num_minority + 200) < num_minority
  held = []
  for _ in range(150):
    scores = rng.normal(size=len(is_minority)) - 3 * is_minority
    intervals = over_test_images(scores, is_minority, threshold, prior)
    held.append(
      [
        intervals[k]['low'] <= value <= intervals[k]['high']
        for k, value in truth.items()
      ]
    )
    assert set(intervals['auroc']) == {'value'}  # too few to resample
  assert (np.mean(held, axis=0) > 0.9).all()


@pytest.mark.parametrize('prior', [None, 0.02])
def test_metrics_of_rates_are_those_of_scores(prior):
  scores, is_minority = _draw(3)
  values = metrics.evaluate_scores(scores, is_minority, 0.1, prior)
  share = is_minority.mean() if prior is None else prior
  of_rates = _evaluate_rates(values['recall'], values['specificity'], share)
  assert of_rates == pytest.approx({name: values[name] for name in of_rates})


def test_narrower_with_more_images_and_less_confidence():
  def width(size, confidence):
    drawn = _draw(1, size, size)
    interval = over_test_images(*drawn, confidence=confidence, num_resamples=60)
    return interval['f1']['high'] - interval['f1']['low']

  assert width(400, 0.95) < 0.8 * width(100, 0.95)
  assert width(100, 0.5) < 0.7 * width(100, 0.95)


def test_the_seed_decides():
  drawn = _draw(2)
  first, again, other = (
    over_test_images(*drawn, num_resamples=30, seed=seed) for seed in (0, 0, 1)
  )
  assert first == again != other


def test_over_draws():
  results = [
    {'f1': 0.5, 'brier': 0.1, 'minority_total': 3},
    {'f1': 0.9, 'brier': 0.3, 'minority_total': 3},
    {'f1': 0.7, 'brier': 0.2, 'minority_total': 3},
  ]
  summary = over_draws(results)
  assert set(summary) == {'f1', 'brier'}
  assert summary['f1'] == pytest.approx(
    {'mean': 0.7, 'std': 0.2, 'worst': 0.5, 'num_draws': 3}
  )
  assert summary['brier'] == pytest.approx(
    {'mean': 0.2, 'std': 0.1, 'worst': 0.3, 'num_draws': 3}
  )


def test_one_draw_has_no_spread_and_none_no_summary():
  assert over_draws([{'auroc': 0.5}])['auroc']['std'] is None
  with pytest.raises(ValueError, match='no results'):
    over_draws([])
