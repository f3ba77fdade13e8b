"""The spread of the minority's scores: closed forms and calibration by simulation."""

import numpy as np
import pytest
from scipy import stats

from egan_jax.errors import UserError
from egan_jax.evaluation import score_models


def test_a_methods_own_model_is_normal():
  model = score_models.from_method(-2.0, 3.0)
  cuts = np.linspace(-9, 9, 7)
  np.testing.assert_allclose(model.share_below(cuts), stats.norm(-2, 3).cdf(cuts))


def test_five_scores_by_hand():
  # Squares about -2: 1 + 1; the majority's variance: 1; prior degrees: 2.
  model = score_models.from_left_out([-1.0, -3.0, -2.0, -2.0, -2.0], [-1.0, 1.0])
  assert (model.mean, model.degrees_of_freedom) == (-2, 6)
  assert model.deviation == pytest.approx(np.sqrt((2 * 1 + 2) / 6 * 1.2))
  assert model.share_below(-2.0) == pytest.approx(0.5)


def test_many_scores_speak_for_themselves():
  rng = np.random.default_rng(0)
  minority, majority = 7 * rng.normal(size=5000) - 4, rng.normal(size=500)
  model = score_models.from_left_out(minority, majority)
  cuts = np.linspace(-20, 10, 9)
  np.testing.assert_allclose(
    model.share_below(cuts), stats.norm(-4, 7).cdf(cuts), atol=0.02
  )


def test_scores_that_agree_do_not_pass_for_a_class_without_spread():
  majority = np.random.default_rng(0).normal(size=500)
  model = score_models.from_left_out([-3.0] * 5, majority)
  assert model.deviation > 0.5
  assert 0.001 < model.share_below(-6.0) < 0.1


@pytest.mark.parametrize('n', [5, 20])
def test_predictions_come_true_where_the_variance_is_as_the_prior_has_it(n):
  """A new score is below the predicted 10% point once in ten times, and so on."""
  rng = np.random.default_rng(n)
  majority = rng.normal(size=300)
  below = []
  for _ in range(4000):
    deviation = np.sqrt(2 * majority.var() / rng.chisquare(2))
    *minority, new = deviation * rng.normal(size=n + 1) - 2
    below.append(score_models.from_left_out(minority, majority).share_below(new))
  assert stats.kstest(below, stats.uniform.cdf).pvalue > 1e-3


def test_scores_alike_within_a_class_are_no_error():
  model = score_models.from_left_out([-1.0] * 5, [0.0, 0.0, 0.0])
  assert model.share_below([-2.0, 0.0]).tolist() == pytest.approx([0, 1])


def test_scores_all_alike_are_refused():
  with pytest.raises(UserError, match='are alike: no cut parts them'):
    score_models.from_left_out([0.5] * 5, [0.5, 0.5, 0.5])


def test_few_scores_are_refused():
  with pytest.raises(UserError, match='4 left-out minority scores are too few'):
    score_models.from_left_out(np.arange(4.0), [0.0, 1.0])
