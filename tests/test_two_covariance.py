"""The two-covariance model against dense Gaussians and against simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from egan_jax import two_covariance
from egan_jax.two_covariance import Covariances


def _features(count, size, seed=0):
  """Correlated features with a mean."""
  rng = np.random.default_rng(seed)
  mixing = np.random.default_rng(99).normal(size=(size, size))
  return rng.normal(size=(count, size)) @ mixing + 3


def _dense(majority, constants, directions):
  """m, W and B as the definition has them."""
  covariance = np.cov(majority.T, bias=True)
  size, trace = len(covariance), np.trace(covariance)
  s = constants.spherical
  within = (1 - s) * covariance + s * trace / size * np.eye(size)
  between = covariance @ directions @ directions.T @ covariance
  between *= constants.between * trace / np.trace(between)
  return majority.mean(axis=0), within, between


PLAIN = Covariances(power=1)


def _score(majority, minority, features, constants=PLAIN, directions=None):
  model = two_covariance.measure_majority(majority, directions, constants)
  posterior = two_covariance.infer(
    jnp.asarray(model.project(minority)), model.variances
  )
  arrays = {
    'power': model.power,
    'centre': model.centre,
    'projection': model.projection,
    **two_covariance.ratio(posterior),
  }
  return np.asarray(two_covariance.score_plda(arrays, jnp.asarray(features)))


@pytest.mark.parametrize('n', [1, 2, 7])
@pytest.mark.parametrize('rank', [2, 5, 9, None])
def test_score_is_the_ratio_of_dense_predictive_gaussians(n, rank):
  """The joint Gaussian of n + 1 minority images, conditioned on n of them."""
  constants = Covariances(power=1, spherical=0.2, between=0.7)
  majority, minority = _features(40, 5), _features(n, 5, 1) + 1
  features = _features(6, 5, 2)
  directions = None if rank is None else np.random.default_rng(3).normal(size=(5, rank))
  mean, within, between = _dense(
    majority, constants, np.eye(5) if rank is None else directions
  )

  def log_joint(images):
    covariance = np.kron(np.eye(len(images)), within)
    covariance += np.kron(np.ones((len(images), len(images))), between)
    joint = stats.multivariate_normal(np.tile(mean, len(images)), covariance)
    return joint.logpdf(images.ravel())

  of_majority = stats.multivariate_normal(mean, within).logpdf(features)
  of_minority = [
    log_joint(np.vstack([minority, image])) - log_joint(minority) for image in features
  ]
  actual = _score(majority, minority, features, constants, directions)
  np.testing.assert_allclose(actual, of_majority - of_minority, rtol=2e-4, atol=2e-4)


def test_without_directions_differences_follow_the_covariance():
  majority, minority, features = (_features(k, 4, k) for k in (30, 3, 5))
  np.testing.assert_allclose(
    _score(majority, minority, features),
    _score(majority, minority, features, directions=np.eye(4)),
    rtol=1e-4,
    atol=1e-4,
  )


def test_rotated_features_score_the_same():
  majority, minority, features = (_features(k, 6, k) for k in (50, 2, 8))
  directions = np.random.default_rng(0).normal(size=(6, 4))
  rotation = stats.ortho_group.rvs(6, random_state=0)
  np.testing.assert_allclose(
    _score(
      majority @ rotation,
      minority @ rotation,
      features @ rotation,
      directions=rotation.T @ directions,
    ),
    _score(majority, minority, features, directions=directions),
    rtol=1e-4,
    atol=1e-4,
  )


def test_scaled_and_moved_features_score_the_same():
  """W and B follow the majority's own unit."""
  majority, minority, features = (_features(k, 6, k) for k in (50, 2, 8))
  np.testing.assert_allclose(
    _score(*(5 * f - 2 for f in (majority, minority, features))),
    _score(majority, minority, features),
    rtol=1e-3,
    atol=1e-3,
  )


def test_posterior_and_scores_are_calibrated_when_the_model_is_true():
  rng = np.random.default_rng(0)
  variances, n, trials = np.array([4.0, 1.0, 0.25, 0.01]), 3, 4000
  delta = rng.normal(size=(trials, 4)) * np.sqrt(variances)
  images = delta[:, None] + rng.normal(size=(trials, n, 4))
  posterior = jax.vmap(lambda y: two_covariance.infer(y, variances))(images)
  standardised = (delta - posterior['mean']) / np.sqrt(posterior['variance'])
  assert abs(standardised.mean(axis=0)).max() < 0.06
  assert abs(standardised.std(axis=0) - 1).max() < 0.05

  polynomial = jax.vmap(two_covariance.ratio)(posterior)
  new = delta + rng.normal(size=(trials, 4))
  scores = jax.vmap(lambda p, y: two_covariance.evaluate(p, y[None])[0])(
    polynomial, new
  )
  # A log-likelihood ratio is its own log odds: here at equal numbers of both.
  of_majority = jax.vmap(lambda p, y: two_covariance.evaluate(p, y[None])[0])(
    polynomial, rng.normal(size=(trials, 4))
  )
  both = np.concatenate([scores, of_majority])
  is_minority = np.arange(2 * trials) < trials
  probability = 1 / (1 + np.exp(both))
  for low in (0.05, 0.3, 0.5, 0.7, 0.9):
    chosen = (probability > low) & (probability < low + 0.1)
    share = is_minority[chosen].mean()
    assert abs(share - probability[chosen].mean()) < 0.06


@pytest.mark.parametrize(('count', 'size'), [(500, 3), (4, 60), (2, 8), (1, 5)])
def test_any_number_of_images_and_features(count, size):
  scores = _score(_features(count, size), _features(1, size, 1), _features(9, size, 2))
  assert scores.shape == (9,)
  assert np.isfinite(scores).all()


def test_the_minority_image_itself_is_the_most_likely_of_its_class():
  majority, minority = _features(60, 5), _features(1, 5, 1) * 2
  path = np.linspace(0, 1, 5)[:, None]
  images = (1 - path) * majority.mean(axis=0) + path * minority
  scores = _score(majority, minority, images)
  assert (np.diff(scores) < 0).all()


@pytest.mark.parametrize('number', [1, 3, 7, 25])
def test_images_all_alike_are_noted(number):
  """Their mean is off by rounding, which is no spread."""
  same = np.tile(np.random.default_rng(0).gamma(2, size=50), (number, 1))
  assert two_covariance.measure_majority(same.astype(np.float32)).note


def test_images_that_differ_are_not_all_alike():
  assert not two_covariance.measure_majority(_features(7, 3)).note


def test_neighbors_are_the_nearest_by_angle():
  index = two_covariance.NUM_NEIGHBORS * [[1.0, 0.0]] + [[0.0, 1.0]]
  features = jnp.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
  scores = two_covariance.score_neighbors(jnp.array(index), features)
  others = two_covariance.NUM_NEIGHBORS - 1
  np.testing.assert_allclose(scores, [0, 1 / (1 + others) - 1, -1], atol=1e-6)


def test_a_power_is_that_of_the_features():
  majority, minority, features = (_features(k, 5, k) for k in (40, 2, 7))
  directions = np.random.default_rng(0).normal(size=(5, 3))

  def power(f):
    return np.sign(f) * np.abs(f) ** 0.5

  np.testing.assert_allclose(
    _score(majority, minority, features, Covariances(power=0.5)),
    _score(power(majority), power(minority), power(features)),
    rtol=1e-4,
    atol=1e-4,
  )
  # Linear in the logits of the features themselves, not of their power.
  model = two_covariance.measure_majority(majority, directions, Covariances(power=0.5))
  z, logits = power(majority), majority @ directions
  root = (z - z.mean(axis=0)).T @ (logits - logits.mean(axis=0)) / len(z)
  inverse = np.linalg.inv(model.projection.T @ model.projection)
  spanned = model.projection @ inverse @ model.projection.T
  within = 0.9 * np.cov(z.T, bias=True) + 0.1 * z.var(axis=0).mean() * np.eye(5)
  solved = np.linalg.solve(within, root)
  np.testing.assert_allclose(spanned @ solved, solved, rtol=1e-6, atol=1e-8)


def test_zero_features_have_a_gradient():
  """Of the root they would have an infinite one, and explanations would be NaN."""
  features = jnp.asarray([-4.0, 0.0, 9.0])
  np.testing.assert_allclose(two_covariance.raise_to(features, 0.5), [-2, 0, 3])
  gradient = jax.grad(lambda z: two_covariance.raise_to(z, 0.5).sum())(features)
  np.testing.assert_allclose(gradient, [1 / 4, 0, 1 / 6], rtol=1e-6)
