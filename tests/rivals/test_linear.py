"""The regressions against their optimality conditions and each other."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from egan_jax.rivals import linear

SOLVED = {'max_iter': 1000, 'solver': 'newton-cholesky', 'tol': 1e-8}


def _standardise(majority, minority, test):
  features = np.concatenate([majority, minority])
  scaler = StandardScaler().fit(features)
  is_majority = np.arange(len(features)) < len(majority)
  return scaler.transform(features), is_majority, scaler.transform(test)


def test_balanced_weighs_each_class_by_half(blobs):
  majority, minority, test = blobs
  scaler = StandardScaler().fit(majority)
  features = scaler.transform(np.concatenate([majority, minority]))
  is_majority = np.arange(65) < 60
  weights = np.where(is_majority, 65 / (2 * 60), 65 / (2 * 5))
  expected = LogisticRegression(C=1 / 7, **SOLVED).fit(features, is_majority, weights)
  (got,) = linear.logistic_balanced(majority, minority[None], [0])
  np.testing.assert_allclose(
    got.scores(test), expected.decision_function(scaler.transform(test)), rtol=1e-3
  )


def test_logit_adjustment_takes_off_the_log_odds_of_the_class_sizes(blobs):
  features, is_majority, test = _standardise(*blobs)
  plain = LogisticRegression(C=1 / 7, **SOLVED).fit(features, is_majority)
  got = linear.logistic_logit_adjusted(*blobs[:2], 0).scores(blobs[2])
  expected = plain.decision_function(test) - np.log(60 / 5)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_adjusted_loss_has_the_same_optimum_as_the_adjustment(blobs):
  """Menon et al.'s loss: the log odds of the sizes are added in training only."""
  features, is_majority, test = _standardise(*blobs)
  sign = np.where(is_majority, 1, -1)

  def loss(parameters):
    scores = features @ parameters[1:] + parameters[0]
    adjusted = sign * (scores + np.log(60 / 5))
    return np.logaddexp(0, -adjusted).sum() + 7 / 2 * (parameters[1:] ** 2).sum()

  best = optimize.minimize(loss, np.zeros(8), method='BFGS', tol=1e-8).x
  got = linear.logistic_logit_adjusted(*blobs[:2], 0).scores(blobs[2])
  np.testing.assert_allclose(got, test @ best[1:] + best[0], atol=5e-3)


def test_smote_draws_between_minority_images(blobs, monkeypatch):
  """Of images on a line, whatever is interpolated is on it too."""
  majority, _, _ = blobs
  minority = majority.mean(0) + np.outer(np.linspace(3, 4, 8), np.ones(7))
  seen = []
  fit = LogisticRegression.fit

  def spy(self, features, classes, *args, **kwargs):
    seen.append((features, classes))
    return fit(self, features, classes, *args, **kwargs)

  monkeypatch.setattr(LogisticRegression, 'fit', spy)
  assert linear.smote_logistic(majority, minority, 0).note == ''
  ((features, classes),) = seen
  assert classes.sum() == (~classes).sum() == 60
  lines, _, ends = _standardise(majority, minority, minority[[0, -1]])
  made = features[~classes]
  assert len(np.unique(made.round(9), axis=0)) > 40  # not copies
  positions = (made - ends[0]) / (ends[1] - ends[0])
  np.testing.assert_allclose(positions, positions[:, :1] * np.ones(7), atol=1e-6)
  assert positions.min() > -1e-9 and positions.max() < 1 + 1e-9
  np.testing.assert_allclose(features[:60], lines[:60])


@pytest.mark.parametrize('num_minority', [2, 5])
def test_smote_says_when_it_has_fewer_neighbours(blobs, num_minority):
  majority, minority, _ = blobs
  scorer = linear.smote_logistic(majority, minority[:num_minority], 0)
  assert scorer.note.startswith(f'SMOTE with {num_minority - 1} neighbours')


def test_smote_of_one_image_is_its_weight(blobs):
  majority, minority, _ = blobs
  scorer = linear.smote_logistic(majority, minority[:1], 0)
  assert 'needs two minority images' in scorer.note
  features, is_majority, test = _standardise(majority, minority[:1], blobs[2])
  weights = np.where(is_majority, 1, 60)
  expected = LogisticRegression(C=1 / 7, **SOLVED).fit(features, is_majority, weights)
  got = scorer.scores(blobs[2])
  np.testing.assert_allclose(got, expected.decision_function(test), rtol=1e-3)


def test_smote_leaves_equal_classes_alone(blobs):
  majority, _, test = blobs
  minority = majority[:40] + 1
  got = linear.smote_logistic(majority[:40], minority, 0).scores(test)
  expected = linear.logistic_logit_adjusted(majority[:40], minority, 0).scores(test)
  np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_seed_of_smote_decides(blobs):
  majority, minority, test = blobs
  first, again, other = (
    linear.smote_logistic(majority, minority, seed).scores(test) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, other)
