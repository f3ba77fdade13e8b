"""The regressions against their optimality conditions and each other."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from egan_jax import logistic_regression
from egan_jax.rivals import linear

SOLVED = {'max_iter': 1000, 'solver': 'newton-cholesky', 'tol': 1e-8}


def _standardise(majority, minority, test):
  features = np.concatenate([majority, minority])
  scaler = StandardScaler().fit(majority)
  is_majority = np.arange(len(features)) < len(majority)
  return scaler.transform(features), is_majority, scaler.transform(test)


def _fit(fit_draws, majority, minority, seed=0):
  (scorer,) = fit_draws(linear.standardise(majority), minority[None], [seed])
  return scorer


def test_balanced_weighs_each_class_by_half(blobs):
  features, is_majority, test = _standardise(*blobs)
  weights = np.where(is_majority, 65 / (2 * 60), 65 / (2 * 5))
  expected = LogisticRegression(C=1 / 7, **SOLVED).fit(features, is_majority, weights)
  got = _fit(linear.logistic_balanced, *blobs[:2]).scores(blobs[2])
  np.testing.assert_allclose(got, expected.decision_function(test), rtol=1e-3)


@pytest.mark.parametrize(
  'fit_draws',
  [linear.logistic_balanced, linear.logistic_logit_adjusted, linear.smote_logistic],
)
def test_draws_side_by_side_are_those_one_by_one(fit_draws, blobs):
  majority, minority, test = blobs
  draws = np.stack([minority[:4], minority[1:]])
  together = fit_draws(linear.standardise(majority), draws, [3, 4])
  for draw, seed, scorer in zip(draws, [3, 4], together, strict=True):
    alone = _fit(fit_draws, majority, draw, seed)
    np.testing.assert_allclose(scorer.scores(test), alone.scores(test), atol=1e-3)


def test_logit_adjustment_takes_off_the_log_odds_of_the_class_sizes(blobs):
  features, is_majority, test = _standardise(*blobs)
  plain = LogisticRegression(C=1 / 7, **SOLVED).fit(features, is_majority)
  got = _fit(linear.logistic_logit_adjusted, *blobs[:2]).scores(blobs[2])
  expected = plain.decision_function(test) - np.log(60 / 5)
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_the_adjusted_loss_has_the_same_optimum_as_the_adjustment(blobs):
  """Menon et al.'s loss: the log odds of the sizes are added in training only."""
  features, is_majority, test = _standardise(*blobs)
  sign = np.where(is_majority, 1, -1)

  def loss(parameters):
    scores = features @ parameters[1:] + parameters[0]
    adjusted = sign * (scores + np.log(60 / 5))
    return np.logaddexp(0, -adjusted).sum() + 7 / 2 * (parameters[1:] ** 2).sum()

  best = optimize.minimize(loss, np.zeros(8), method='BFGS', tol=1e-8).x
  got = _fit(linear.logistic_logit_adjusted, *blobs[:2]).scores(blobs[2])
  np.testing.assert_allclose(got, test @ best[1:] + best[0], atol=5e-3)


def test_smote_draws_between_minority_images(blobs, monkeypatch):
  """Of images on a line, whatever is interpolated is on it too."""
  majority, _, _ = blobs
  minority = majority.mean(0) + np.outer(np.linspace(3, 4, 8), np.ones(7))
  seen = []
  fit = logistic_regression.fit

  def spy(*args, **kwargs):
    seen.append(args)
    return fit(*args, **kwargs)

  monkeypatch.setattr(logistic_regression, 'fit', spy)
  assert _fit(linear.smote_logistic, majority, minority).note == ''
  ((fitted, _, (made,)),) = seen
  assert len(made) == len(fitted) == 60
  features, _, ends = _standardise(majority, minority, minority[[0, -1]])
  assert len(np.unique(made.round(5), axis=0)) > 40  # not copies
  positions = (made - ends[0]) / (ends[1] - ends[0])
  np.testing.assert_allclose(positions, positions[:, :1] * np.ones(7), atol=1e-5)
  assert positions.min() > -1e-5 and positions.max() < 1 + 1e-5
  np.testing.assert_allclose(fitted, features[:60], rtol=1e-5)


@pytest.mark.parametrize('num_minority', [2, 5])
def test_smote_says_when_it_has_fewer_neighbours(blobs, num_minority):
  majority, minority, _ = blobs
  scorer = _fit(linear.smote_logistic, majority, minority[:num_minority])
  assert scorer.note.startswith(f'SMOTE with {num_minority - 1} neighbours')


def test_smote_of_one_image_is_its_weight(blobs):
  majority, minority, _ = blobs
  scorer = _fit(linear.smote_logistic, majority, minority[:1])
  assert 'needs two minority images' in scorer.note
  features, is_majority, test = _standardise(majority, minority[:1], blobs[2])
  weights = np.where(is_majority, 1, 60)
  expected = LogisticRegression(C=1 / 7, **SOLVED).fit(features, is_majority, weights)
  got = scorer.scores(blobs[2])
  np.testing.assert_allclose(got, expected.decision_function(test), rtol=1e-3)


def test_smote_leaves_equal_classes_alone(blobs):
  majority, _, test = blobs
  minority = majority[:40] + 1
  got = _fit(linear.smote_logistic, majority[:40], minority).scores(test)
  expected = _fit(linear.logistic_logit_adjusted, majority[:40], minority).scores(test)
  np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_seed_of_smote_decides(blobs):
  majority, minority, test = blobs
  first, again, other = (
    _fit(linear.smote_logistic, majority, minority, seed).scores(test)
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, other)
