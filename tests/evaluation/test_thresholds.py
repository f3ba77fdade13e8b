"""The promises of the thresholds, kept: by simulation and against closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from egan_jax.errors import UserError
from egan_jax.evaluation import calibration, score_models
from egan_jax.evaluation.thresholds import (
  abstain_between,
  count_needed_for_sensitivity,
  count_needed_for_specificity,
  expected_f1,
  minimum_cost,
  target_sensitivity,
  target_specificity,
  zero,
)


def test_zero_is_the_papers_cut():
  threshold = zero()
  assert threshold.calls_minority([-1e-30, 0.0, 1.0]).tolist() == [True, False, False]
  assert threshold.promise.startswith('none')


class TestTargetSpecificity:
  @pytest.mark.parametrize(
    'n, specificity', [(19, 0.95), (20, 0.95), (100, 0.95), (333, 0.9), (9, 0.9)]
  )
  def test_new_images_are_called_majority_at_the_rate_asked_for(self, n, specificity):
    """Coverage over draws: the distribution-free bounds and the Beta closed form.

    Uniform scores: the specificity of a cut t is 1 - t, without a second sample.
    """
    rng = np.random.default_rng(n)
    draws = 2000
    got = np.array(
      [1 - target_specificity(rng.random(n), specificity).value for _ in range(draws)]
    )
    k = n + 1 - math.ceil(round((n + 1) * specificity, 9))
    distribution = stats.beta(n + 1 - k, k)
    error = 4 * distribution.std() / math.sqrt(draws)
    assert specificity - error <= got.mean() <= specificity + 1 / (n + 1) + error
    assert stats.kstest(got, distribution.cdf).pvalue > 1e-3
    # The quantile in the promise.
    low = str(math.floor(distribution.ppf(0.05) * 1e4) / 1e4)
    assert low in target_specificity(rng.random(n), specificity).promise
    assert np.mean(got >= float(low)) == pytest.approx(0.95, abs=0.02)

  def test_ties_err_on_the_side_of_the_promise(self):
    rng = np.random.default_rng(0)
    got = []
    for _ in range(300):
      calibration_scores = rng.integers(0, 5, 50)
      new = rng.integers(0, 5, 1000)
      threshold = target_specificity(calibration_scores, 0.9)
      got.append(np.mean(~threshold.calls_minority(new)))
    assert np.mean(got) >= 0.9
    assert not target_specificity(np.zeros(50), 0.9).calls_minority([0.0]).any()

  def test_a_promise_is_not_rounded_up(self):
    promise = target_specificity(np.arange(20), 0.95).promise
    assert 'probability 0.9523 or more' in promise  # 20 / 21

  @pytest.mark.parametrize(
    'specificity, needed', [(0.95, 19), (0.9, 9), (0.5, 1), (0.99, 99), (0.999, 999)]
  )
  def test_the_least_number_of_scores(self, specificity, needed):
    assert count_needed_for_specificity(specificity) == needed
    scores = np.arange(needed, dtype=np.float64)[::-1]
    assert target_specificity(scores, specificity).value == 0.0  # the smallest
    too_few = 'at least two' if needed == 1 else f'at least {needed} held-out'
    with pytest.raises(UserError, match=too_few):
      target_specificity(scores[1:], specificity)

  def test_what_is_offered_instead_can_be_had(self):
    for n in range(1, 19):
      with pytest.raises(UserError, match='ask for at most') as raised:
        target_specificity(np.arange(n), 0.95)
      offered = float(str(raised.value).rsplit(' ', 1)[1])
      assert target_specificity(np.arange(n), offered).value == 0

  def test_monotone_in_the_level_and_blind_to_order(self):
    scores = np.random.default_rng(1).normal(size=500)
    levels = [0.5, 0.8, 0.9, 0.95, 0.99]
    values = [target_specificity(scores, level).value for level in levels]
    assert values == sorted(values, reverse=True)
    assert target_specificity(scores[::-1], 0.9).value == values[2]

  def test_scores_of_several_fits_have_the_same_cut_and_promise_less(self):
    scores = np.random.default_rng(1).normal(size=1000)
    one, several = (target_specificity(scores, 0.95, k) for k in (None, 5))
    assert one.value == several.value and one.rule == several.rule
    # 1 - 2 alpha less min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)).
    bound = 1 - 2 * 50 / 1001 - 2 * 0.8 / 201
    assert f'the bound is {bound:.4f}' in several.promise
    assert 'not guaranteed' in several.promise and 'in 95 of 100' not in several.promise


class TestTargetSensitivity:
  @pytest.mark.parametrize(
    'n, sensitivity', [(5, 0.5), (10, 0.7), (29, 0.9), (60, 0.8)]
  )
  def test_the_confidence_is_kept(self, n, sensitivity):
    """Uniform scores: the sensitivity of a cut t is t."""
    rng = np.random.default_rng(n)
    draws = 2000
    got = np.array(
      [target_sensitivity(rng.random(n), sensitivity).value for _ in range(draws)]
    )
    kept = np.mean(got >= sensitivity)
    assert kept >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / draws)
    # Not by calling everything minority: one score less would break the promise.
    k = round(got.mean() * (n + 1))
    assert stats.beta(k, n + 1 - k).sf(sensitivity) == pytest.approx(kept, abs=0.02)
    if k > 1:
      assert stats.beta(k - 1, n + 2 - k).sf(sensitivity) < 0.95

  @pytest.mark.parametrize('n', [5, 10, 30])
  def test_limits_are_clopper_and_pearsons(self, n):
    scores = np.arange(n, dtype=np.float64)
    for k in range(1, n + 1):
      limit = stats.binomtest(k, n, alternative='greater').proportion_ci(0.95).low
      # Just below the limit of k of n, and with k of them below the cut.
      threshold = target_sensitivity(scores, limit * (1 - 1e-9))
      assert threshold.calls_minority(scores).sum() == k
      assert f'probability {math.floor(limit * 1e4) / 1e4} or' in threshold.promise

  @pytest.mark.parametrize(
    'sensitivity, confidence, needed',
    [(0.9, 0.95, 29), (0.95, 0.95, 59), (0.5, 0.9, 4), (0.8, 0.488, 3)],
  )
  def test_too_few_images_are_told_what_they_can_promise(
    self, sensitivity, confidence, needed
  ):
    assert count_needed_for_sensitivity(sensitivity, confidence) == needed
    target_sensitivity(np.arange(needed), sensitivity, confidence)
    with pytest.raises(UserError, match=f'takes {needed} minority images') as raised:
      target_sensitivity(np.arange(needed - 1), sensitivity, confidence)
    offered = float(str(raised.value).split('at most ')[1].split(',')[0])
    assert offered == pytest.approx((1 - confidence) ** (1 / (needed - 1)), abs=1e-3)
    target_sensitivity(np.arange(needed - 1), offered, confidence)

  def test_a_number_is_what_was_written_and_not_the_nearest_double(self):
    assert count_needed_for_sensitivity(0.1, 0.9) == 1  # though 1 - 0.9 < 0.1

  @pytest.mark.parametrize('dtype', [np.float32, np.float64, np.int64])
  def test_the_cut_is_above_its_score_in_the_scores_own_precision(self, dtype):
    scores = np.arange(100, 130).astype(dtype)
    threshold = target_sensitivity(scores, 0.9)
    assert threshold.calls_minority(scores).all()
    assert (scores < threshold.value).all()  # as a user would compare
    assert threshold.value == pytest.approx(129)

  def test_one_image_leaves_no_score(self):
    with pytest.raises(UserError, match='at least two minority images'):
      target_sensitivity([], 0.5)


class TestMinimumCost:
  @pytest.fixture
  def line(self):
    """Two unit Gaussians at 0 and -2: log likelihood ratio -2 - 2 score."""
    return calibration.Calibration(-2.0, -2.0, 10, 1000, 'as made')

  @pytest.mark.parametrize('costs', [(1, 1), (10, 1), (1, 1e17), (1e300, 1e-300)])
  @pytest.mark.parametrize('prior', [0.5, 0.01])
  def test_closed_form(self, line, costs, prior):
    threshold = minimum_cost(line, *costs, prior)
    log_odds = math.log(costs[1]) - math.log(costs[0])
    expected = (log_odds - math.log(prior / (1 - prior)) + 2) / -2
    assert threshold.value == pytest.approx(expected)

  def test_no_other_cut_is_cheaper(self, line):
    cuts = np.linspace(-6, 4, 10_001)
    misses = 0.03 * stats.norm(-2).sf(cuts)
    alarms = 0.97 * stats.norm(0).cdf(cuts)
    cheapest = cuts[np.argmin(20 * misses + 3 * alarms)]
    assert minimum_cost(line, 20, 3, 0.03).value == pytest.approx(cheapest, abs=1e-3)

  def test_a_score_that_says_nothing_leaves_the_prior(self):
    flat = calibration.Calibration(0.0, 0.0, 2, 100, 'none')
    assert minimum_cost(flat, 1, 1, 0.1).value == -math.inf
    assert minimum_cost(flat, 20, 1, 0.1).value == math.inf

  @pytest.mark.parametrize('costs', [(0, 1), (1, -1), (math.inf, 1), (1, math.nan)])
  def test_refuses_costs_that_are_none(self, line, costs):
    with pytest.raises(UserError, match='must be positive and finite'):
      minimum_cost(line, *costs, 0.5)


class TestExpectedF1:
  @pytest.mark.parametrize('prior', [0.5, 0.05])
  @pytest.mark.parametrize('mean, deviation', [(-2.0, 1.0), (-5.0, 2.0), (-0.5, 0.3)])
  def test_no_other_cut_has_a_higher_f1(self, mean, deviation, prior):
    """Standard normal majority scores, so that the true F1 of a cut is known."""
    majority = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    model = score_models.from_method(mean, deviation)
    threshold = expected_f1(majority, model, prior)
    cuts = np.linspace(-8, 5, 4001)
    found = prior * stats.norm(mean, deviation).cdf(cuts)
    f1 = 2 * found / (found + (1 - prior) * stats.norm.cdf(cuts) + prior)
    there = np.interp(threshold.value, cuts, f1)
    assert there == pytest.approx(f1.max(), abs=2e-3)
    assert float(threshold.promise.split('F1 of ')[1].split()[0]) == pytest.approx(
      f1.max(), abs=3e-3
    )

  def test_a_rarer_minority_is_called_less_often(self):
    majority = np.random.default_rng(0).normal(size=500)
    model = score_models.from_method(-1.5, 1.0)
    cuts = [
      expected_f1(majority, model, prior).value for prior in (0.9, 0.5, 0.1, 0.01)
    ]
    assert cuts == sorted(cuts, reverse=True) and cuts[0] > cuts[-1]

  def test_all_are_called_minority_where_the_score_says_nothing(self):
    majority = np.random.default_rng(0).normal(size=500)
    threshold = expected_f1(majority, score_models.from_method(3.0, 1.0))
    assert threshold.value == math.inf
    assert 'F1 of 0.667' in threshold.promise and 'recall 1.000' in threshold.promise

  def test_a_clear_minority_leaves_the_majority_alone(self):
    majority = np.random.default_rng(0).normal(size=500)
    threshold = expected_f1(majority, score_models.from_method(-50.0, 1.0))
    assert threshold.value == majority.min()
    assert not threshold.calls_minority(majority).any()

  def test_errors(self):
    model = score_models.from_method(-1.0, 1.0)
    with pytest.raises(UserError, match='prior=1'):
      expected_f1(np.zeros(3), model, 1)
    with pytest.raises(UserError, match='no held-out majority score'):
      expected_f1([], model)


class TestAbstainRegion:
  @pytest.fixture
  def make(self):
    def make(distance):
      rng = np.random.default_rng(4)
      region = abstain_between(
        target_specificity(rng.normal(size=400), 0.95),
        target_sensitivity(rng.normal(size=100) - distance, 0.8),
      )
      new = rng.normal(size=20_000)
      return region.decide(new), region.decide(new - distance)

    return make

  def test_both_promises_hold_and_the_rest_is_left_open(self, make):
    majority, minority = make(distance=1)
    assert np.mean(majority == 'minority') < 0.08
    assert np.mean(minority == 'majority') < 0.2
    assert np.mean(majority == 'abstain') > 0.2
    assert {*majority, *minority} == {'minority', 'majority', 'abstain'}

  def test_nothing_is_left_open_where_the_promises_agree(self, make):
    majority, minority = make(distance=6)
    assert {*majority, *minority} == {'minority', 'majority'}
    assert np.mean(majority == 'minority') < 0.08
    assert np.mean(minority == 'majority') < 0.2


@pytest.mark.parametrize('level', [0, 1, -1, 95, math.nan])
def test_levels_outside_0_and_1_are_refused(level):
  scores = np.arange(100)
  for choose in (target_specificity, target_sensitivity):
    with pytest.raises(UserError, match='greater than 0 and less than 1'):
      choose(scores, level)
  with pytest.raises(UserError, match='confidence='):
    target_sensitivity(scores, 0.5, level)


@pytest.mark.parametrize('scores', [[[1.0, 2.0]], [math.nan, 1.0], [-math.inf, 1.0]])
def test_scores_that_are_not_finite_are_an_error(scores):
  for choose in (target_specificity, target_sensitivity):
    with pytest.raises(ValueError, match='finite'):
      choose(scores, 0.5)
