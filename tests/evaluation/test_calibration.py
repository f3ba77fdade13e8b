"""P(minority) where the true posterior is known."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from egan_jax.errors import UserError
from egan_jax.evaluation import calibration, reliability
from egan_jax.evaluation.metrics import weigh_classes


def _draw(rng, distance, num_minority, num_majority):
  """Majority and minority scores of unit Gaussians at 0 and -distance."""
  return rng.normal(size=num_majority), rng.normal(size=num_minority) - distance


@pytest.mark.parametrize('distance', [0.5, 1, 2, 3])
@pytest.mark.parametrize('num_minority', [2000, 20_000])
def test_many_scores_give_the_true_posterior_at_any_training_ratio(
  distance, num_minority
):
  rng = np.random.default_rng(0)
  fitted = calibration.fit(*_draw(rng, distance, num_minority, 20_000))
  assert fitted.slope == pytest.approx(-distance, rel=0.1)
  scores = np.linspace(-distance - 1, 1, 50)
  likelihood_ratio = -distance * scores - distance**2 / 2
  for prior in (0.5, 0.01):
    np.testing.assert_allclose(
      fitted.probabilities(scores, prior),
      expit(likelihood_ratio + logit(prior)),
      atol=0.04,
    )


@pytest.mark.parametrize('prior', [0.5, 1 / 51])
def test_probabilities_are_reliable_in_a_world_of_another_prior(prior):
  rng = np.random.default_rng(1)
  fitted = calibration.fit(*_draw(rng, 2, 500, 5000))
  scores = np.concatenate(_draw(rng, 2, 20_000, 20_000))
  is_minority = np.arange(40_000) >= 20_000
  diagram = reliability.diagram(
    fitted.probabilities(scores, prior), is_minority, weigh_classes(is_minority, prior)
  )
  assert reliability.expected_calibration_error(diagram) < 0.015


@pytest.mark.parametrize('num_majority', [5000, 50_000])
def test_few_minority_scores_are_not_lost_among_many_of_the_majority(num_majority):
  """Both derivatives of the log loss are 0 at its minimum."""
  majority, minority = _draw(np.random.default_rng(0), 4, 2, num_majority)
  fitted = calibration.fit(majority, minority)
  scores = np.concatenate([minority, majority])
  targets = np.concatenate([[3 / 4] * 2, [1 / (num_majority + 2)] * num_majority])
  log_odds = fitted.intercept + fitted.slope * scores + logit(targets.mean())
  errors = expit(log_odds) - targets
  assert abs(errors.sum()) < 1e-3 and abs(errors @ scores) < 1e-3


def _excess_log_loss(intercept, slope, distance, prior):
  """Over the true posterior's log loss, in units of what the scores are worth.

  0 is the truth and 1 the prior. Gaussians as of `_draw`, by quadrature.
  """
  scores = np.linspace(-distance - 8, 8, 800)
  minority = prior * stats.norm.pdf(scores, -distance)
  majority = (1 - prior) * stats.norm.pdf(scores)

  def loss(log_odds):
    each = minority * np.logaddexp(0, -log_odds) + majority * np.logaddexp(0, log_odds)
    return np.trapezoid(each, scores)

  truth = loss(-distance * scores - distance**2 / 2 + logit(prior))
  knowing_the_prior = -prior * np.log(prior) - (1 - prior) * np.log1p(-prior)
  got = loss(intercept + slope * scores + logit(prior))
  return (got - truth) / (knowing_the_prior - truth)


def _two_gaussians(majority, minority):
  """The likelihood ratio of two Gaussians of equal spread, as plainly estimated."""
  squares = sum(((s - s.mean()) ** 2).sum() for s in (majority, minority))
  variance = squares / (len(majority) + len(minority) - 2)
  slope = (minority.mean() - majority.mean()) / variance
  return -slope * (minority.mean() + majority.mean()) / 2, slope


@pytest.mark.parametrize('distance', [1, 2, 4])
@pytest.mark.parametrize('num_minority', [1, 5, 10])
def test_few_scores_are_worth_more_than_the_prior_and_do_little_harm(
  distance, num_minority
):
  ours, plain = [], []
  for seed in range(60):
    rng = np.random.default_rng(seed)
    majority, minority = _draw(rng, distance, num_minority, 500)
    fitted = calibration.fit(majority, minority)
    line = fitted.intercept, fitted.slope
    ours.append(_excess_log_loss(*line, distance, 0.5))
    line = _two_gaussians(majority, minority)
    plain.append(_excess_log_loss(*line, distance, 0.5))
  assert np.mean(ours) < {1: 0.6, 5: 0.25, 10: 0.15}[num_minority]
  if distance == 1:  # where a few scores mislead most
    assert max(ours) < max(plain)
    assert np.mean(ours) < np.mean(plain)


def test_more_scores_are_nearer_to_the_truth():
  errors = []
  for n in (1, 5, 25, 125):
    fits = (
      calibration.fit(*_draw(np.random.default_rng(s), 2, n, 500)) for s in range(50)
    )
    errors.append(
      np.mean([_excess_log_loss(f.intercept, f.slope, 2, 0.5) for f in fits])
    )
  assert errors == sorted(errors, reverse=True)


def test_the_line_is_plain_logistic_regression_when_scores_are_many():
  majority, minority = _draw(np.random.default_rng(2), 1, 20_000, 20_000)
  plain = LogisticRegression(C=np.inf).fit(
    np.concatenate([majority, minority])[:, None], np.arange(40_000) >= 20_000
  )
  fitted = calibration.fit(majority, minority)
  assert fitted.slope == pytest.approx(plain.coef_[0, 0], rel=1e-2)
  assert fitted.intercept == pytest.approx(plain.intercept_[0], abs=1e-2)


@pytest.mark.parametrize('num_minority', [1, 3])
def test_separated_classes_have_a_finite_slope_in_any_unit(num_minority):
  majority, minority = np.linspace(10, 12, 200), np.full(num_minority, -1.0)
  fitted = calibration.fit(majority, minority)
  assert np.isfinite(fitted.intercept) and -100 < fitted.slope < 0
  scores = np.linspace(-5, 15, 30)
  probabilities = fitted.probabilities(scores, 0.3)
  assert (np.diff(probabilities) < 0).all()
  scaled = calibration.fit(1000 * majority + 7, 1000 * minority + 7)
  np.testing.assert_allclose(
    scaled.probabilities(1000 * scores + 7, 0.3), probabilities, rtol=1e-3
  )


def test_score_of_inverts_probabilities():
  fitted = calibration.fit(*_draw(np.random.default_rng(3), 2, 10, 100))
  for probability in (0.01, 0.5, 0.9):
    score = fitted.score_of(logit(probability), prior=0.2)
    assert fitted.probabilities([score], 0.2) == pytest.approx(probability)
    below, above = fitted.probabilities([score - 0.1, score + 0.1], 0.2)
    assert above < probability < below


@pytest.mark.parametrize('minority', [[5.0, 6.0], [0.0, 0.0]])
def test_scores_that_do_not_rank_leave_the_prior(minority):
  majority = np.zeros(50) if minority == [0.0, 0.0] else np.linspace(-1, 1, 50)
  fitted = calibration.fit(majority, np.array(minority))
  assert fitted.probabilities([-9.0, 9.0], 0.02) == pytest.approx([0.02, 0.02])
  assert fitted.promise.startswith('none')


def test_the_promise_says_how_few_they_were():
  rng = np.random.default_rng(5)
  few, more = (calibration.fit(*_draw(rng, 2, n, 100)) for n in (3, 30))
  assert 'rough guide' in few.promise and '3 minority' in few.promise
  assert 'rough guide' not in more.promise and 'without a guarantee' in more.promise


def test_refuses_what_it_cannot_do():
  with pytest.raises(UserError, match='at least two minority images'):
    calibration.fit([1.0, 2.0], [])
  with pytest.raises(ValueError, match='finite'):
    calibration.fit([1.0, np.nan], [0.0])
  fitted = calibration.fit([1.0, 2.0], [0.0])
  for prior in (0, 1, np.nan):
    with pytest.raises(UserError, match='prior='):
      fitted.probabilities([0.0], prior)
    with pytest.raises(UserError, match='prior='):
      fitted.score_of(0.0, prior)
