"""The losses against closed forms and hand computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from egan_jax.rivals import losses

SCORES = jnp.array([-3.0, -0.5, 0.0, 0.5, 4.0, -1.0])
IS_MINORITY = jnp.array([True, False, True, False, False, False])


def _probability_of_truth(scores, is_minority):
  majority = 1 / (1 + np.exp(-np.asarray(scores, np.float64)))
  return np.where(is_minority, 1 - majority, majority)


def test_cross_entropy_is_minus_log_of_the_probability_of_the_truth():
  expected = -np.log(_probability_of_truth(SCORES, IS_MINORITY))
  np.testing.assert_allclose(
    losses.cross_entropy(SCORES, IS_MINORITY), expected, rtol=1e-5
  )


def test_focal_without_focus_is_cross_entropy():
  np.testing.assert_allclose(
    losses.focal(SCORES, IS_MINORITY, gamma=0.0),
    losses.cross_entropy(SCORES, IS_MINORITY),
    rtol=1e-6,
  )


@pytest.mark.parametrize('gamma', [0.5, 2.0, 5.0])
def test_focal_closed_form(gamma):
  probability = _probability_of_truth(SCORES, IS_MINORITY)
  expected = -((1 - probability) ** gamma) * np.log(probability)
  got = losses.focal(SCORES, IS_MINORITY, gamma=gamma)
  np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_class_weights_are_scikit_learns():
  expected = compute_sample_weight('balanced', IS_MINORITY) * np.asarray(
    losses.cross_entropy(SCORES, IS_MINORITY)
  )
  got = losses.class_weighted(SCORES, IS_MINORITY, minority_share=2 / 6)
  np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_deviation_by_hand():
  # Anomaly scores 3 and 1 of the minority, -2 and 9 of the majority; mean 1, std 2.
  scores = jnp.array([-3.0, -1.0, 2.0, -9.0])
  is_minority = jnp.array([True, True, False, False])
  got = losses.deviation(scores, is_minority, 1.0, 2.0)
  # 5 - (3-1)/2, 5 - (1-1)/2, |(-2-1)/2|, |(9-1)/2|
  assert got.tolist() == [4.0, 5.0, 1.5, 4.0]
  assert losses.deviation(jnp.array([-20.0]), jnp.array([True]), 0.0, 1.0) == 0


def test_deep_sad_by_hand():
  scores = -jnp.array([4.0, 0.25, 4.0])
  is_minority = jnp.array([True, True, False])
  got = losses.deep_sad(scores, is_minority, eta=3.0)
  np.testing.assert_allclose(got, [3 / 4, 3 / 0.25, 4.0], rtol=1e-5)
  at_centre = losses.deep_sad(jnp.zeros(2), jnp.array([True, False]))
  assert np.isfinite(at_centre).all() and at_centre[0] > 1e5


@pytest.mark.parametrize(
  'loss',
  [
    losses.cross_entropy,
    losses.focal,
    lambda s, m: losses.class_weighted(s, m, 0.3),
    lambda s, m: losses.deviation(s, m, 0.0, 1.0),
    losses.deep_sad,
  ],
)
def test_descent_lowers_minority_scores_and_raises_majority_scores(loss):
  # Scores that all losses know: negative, as minus a distance is.
  scores = jnp.array([-2.0, -2.0])
  gradient = jax.grad(lambda s: loss(s, jnp.array([True, False])).sum())(scores)
  assert gradient[0] > 0 > gradient[1]
