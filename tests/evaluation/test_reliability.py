"""The reliability diagram against scikit-learn, a closed form and simulation."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from egan_jax.evaluation.metrics import weigh_classes
from egan_jax.evaluation.reliability import diagram, expected_calibration_error


@pytest.fixture
def forecast():
  """P(minority) `[20000]` that is right, and the classes."""
  rng = np.random.default_rng(0)
  probabilities = rng.random(20_000)
  return probabilities, rng.random(20_000) < probabilities


@pytest.mark.parametrize('num_bins', [5, 15])
def test_agrees_with_scikit_learn(forecast, num_bins):
  probabilities, is_minority = (values[:100] for values in forecast)
  result = diagram(probabilities, is_minority, num_bins=num_bins)
  share, probability = calibration_curve(is_minority, probabilities, n_bins=num_bins)
  np.testing.assert_allclose(result['minority_share'], share)
  np.testing.assert_allclose(result['probability'], probability)


def test_hand_made_bins():
  result = diagram([0.0, 0.1, 0.6, 1.0], [0, 1, 0, 1], num_bins=2)
  assert result['probability'] == pytest.approx([0.05, 0.8])
  assert result['minority_share'] == pytest.approx([0.5, 0.5])
  assert result['weight'] == pytest.approx([0.5, 0.5])
  assert expected_calibration_error(result) == pytest.approx((0.45 + 0.3) / 2)


def test_a_right_forecast_has_a_small_error_and_a_wrong_one_its_own(forecast):
  probabilities, is_minority = forecast
  assert expected_calibration_error(diagram(probabilities, is_minority)) < 0.02
  halved = expected_calibration_error(diagram(probabilities / 2, is_minority))
  assert halved == pytest.approx(0.25, abs=0.01)


def test_weights_stand_for_copies(forecast):
  probabilities, is_minority = (values[:500] for values in forecast)
  copies = np.where(is_minority, 1, 4)
  expected = diagram(probabilities.repeat(copies), is_minority.repeat(copies))
  prior = is_minority.sum() / copies.sum()
  result = diagram(probabilities, is_minority, weigh_classes(is_minority, prior))
  for name, values in expected.items():
    np.testing.assert_allclose(result[name], values)


@pytest.mark.parametrize(
  'probabilities, message',
  [
    ([0.5, 1.01], r'in \[0, 1\]'),
    ([-0.01, 0.5], r'in \[0, 1\]'),
    ([np.nan, 0.5], r'in \[0, 1\]'),
    ([0.5], r'must both be \[N\]'),
  ],
)
def test_refuses_what_is_no_probability(probabilities, message):
  with pytest.raises(ValueError, match=message):
    diagram(probabilities, [True, False])
