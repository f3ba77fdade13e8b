"""The truncated Newton fit against scikit-learn's, and its fits against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from egan_jax import logistic_regression


def _features(count, size, seed, offset=0.0):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=(count, size)) + offset).astype(np.float32)


def _solve(majority, minority, penalty, balanced=True):
  """The same by scikit-learn: weights `[C]` and offset `[1]`."""
  features = np.concatenate([majority, minority]).astype(np.float64)
  regression = LogisticRegression(
    C=1 / penalty,
    class_weight='balanced' if balanced else None,
    solver='newton-cholesky',
    tol=1e-10,
    max_iter=1000,
  )
  regression.fit(features, np.arange(len(features)) < len(majority))
  return regression.coef_[0], regression.intercept_


@pytest.mark.parametrize(('penalty', 'n'), [(2.0, 7), (30.0, 1)])
@pytest.mark.parametrize('offset', [0.2, 4.0])  # overlapping and separable
@pytest.mark.parametrize('balanced', [True, False])
def test_it_is_scikit_learns_for_every_subset_and_draw(penalty, n, offset, balanced):
  majority = _features(80, 12, 0)
  minority = _features(3 * n, 12, 1, offset).reshape(3, n, 12)
  is_fitted = np.ones((2, 80), bool)
  is_fitted[1, 20:50] = False
  lines = logistic_regression.fit(majority, is_fitted, minority, penalty, balanced)
  assert lines.weights.shape == (2, 3, 12)
  for subset, fitted in enumerate(is_fitted):
    for draw, images in enumerate(minority):
      weights, offset = _solve(majority[fitted], images, penalty, balanced)
      scale = np.abs(weights).max()
      np.testing.assert_allclose(
        lines.weights[subset, draw], weights, atol=0.01 * scale
      )
      np.testing.assert_allclose(lines.offset[subset, draw], offset, atol=0.01)


def test_a_single_huge_feature_does_not_end_the_fit_of_the_others():
  majority, minority = _features(400, 30, 0), _features(5, 30, 1, 0.3)
  images = _features(300, 30, 2, 0.3)
  majority[:, 0], minority[:, 0], images[:, 0] = 0, 3000, 0
  majority[0, 0] = 20
  line = logistic_regression.fit(
    majority, np.ones((1, 400), bool), minority[None], 30.0, True
  )
  weights, _ = _solve(majority, minority, 30.0)
  ranks = images @ line.weights[0, 0], images @ weights
  assert np.corrcoef(*ranks)[0, 1] > 0.99


def test_more_features_than_images():
  majority, minority = _features(20, 100, 0), _features(2, 100, 1, 1.0)
  line = logistic_regression.fit(
    majority, np.ones((1, 20), bool), minority[None], 100.0, True
  )
  weights, offset = _solve(majority, minority, 100.0)
  np.testing.assert_allclose(line.weights[0, 0], weights, atol=1e-5)
  np.testing.assert_allclose(line.offset[0, 0], offset, atol=1e-4)


def test_no_line_is_better_nearby():
  """The gradient of the objective, written down once more, is nothing."""
  majority, minority = _features(50, 5, 0), _features(4, 5, 1, 0.5)
  line = logistic_regression.fit(
    majority, np.ones((1, 50), bool), minority[None], 2.0, True
  )

  def loss(weights, offset):
    of_majority = jnp.log1p(jnp.exp(-(majority @ weights + offset))).mean()
    of_minority = jnp.log1p(jnp.exp(minority @ weights + offset)).mean()
    return 54 / 2 * (of_majority + of_minority) + weights @ weights

  start = jax.grad(loss, (0, 1))(jnp.zeros(5), 0.0)
  end = jax.grad(loss, (0, 1))(line.weights[0, 0], line.offset[0, 0])
  assert np.abs(end[0]).max() < 1e-3 * np.abs(start[0]).max()
  assert np.abs(end[1]) < 1e-3


def test_fits_of_about_as_many_images_share_a_program():
  """With and without a fold, and balanced or not: compiling takes longer than fitting."""
  logistic_regression._fit_all.clear_cache()
  for count, n, balanced in ((76, 25, True), (77, 26, True), (77, 26, False)):
    majority, minority = _features(count, 4, 0), _features(n, 4, 1, 0.5)
    is_fitted = np.ones((1, count), bool)
    logistic_regression.fit(majority, is_fitted, minority[None], 4.0, balanced)
  assert logistic_regression._fit_all._cache_size() == 1
