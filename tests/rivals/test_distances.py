"""Distances against scikit-learn and direct computation."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestCentroid

from egan_jax import rivals
from egan_jax.rivals import distances


def test_nearest_class_mean_decides_as_nearest_centroid(blobs):
  majority, minority, test = blobs
  labels = np.repeat([0, 1], [len(majority), len(minority)])
  centroids = NearestCentroid().fit(np.concatenate([majority, minority]), labels)
  scores = distances.nearest_class_mean(majority, minority, 0).scores(test)
  called = scores < 0
  assert 5 < called.sum() < 75
  np.testing.assert_array_equal(called, centroids.predict(test) == 1)


def test_nearest_class_mean_is_a_difference_of_squared_distances(blobs):
  majority, minority, test = blobs
  expected = ((test - minority.mean(0)) ** 2).sum(1)
  expected -= ((test - majority.mean(0)) ** 2).sum(1)
  got = distances.nearest_class_mean(majority, minority, 0).scores(test)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_one_class_knn_is_minus_the_mean_of_the_nearest_distances(blobs):
  majority, _, test = blobs
  nearest = np.sort(cdist(test, majority), axis=1)[:, : distances.NUM_NEIGHBORS]
  got = distances.one_class_knn(majority).scores(test)
  np.testing.assert_allclose(got, -nearest.mean(axis=1), rtol=1e-6)


def test_mahalanobis_is_that_of_the_shrunk_covariance(blobs):
  majority, _, test = blobs
  covariance = LedoitWolf().fit(majority)
  centred = test - majority.mean(axis=0)
  expected = np.einsum(
    'ni,ij,nj->n', centred, np.linalg.inv(covariance.covariance_), centred
  )
  got = distances.mahalanobis(majority).scores(test)
  np.testing.assert_allclose(got, -expected, rtol=1e-4)
  np.testing.assert_allclose(got, -covariance.mahalanobis(test), rtol=1e-4)


def test_class_mean_and_knn_adds_both_in_deviations_of_the_majority(blobs):
  majority, minority, test = blobs
  mean = distances.nearest_class_mean(majority, minority, 0)
  among_majority = np.sort(cdist(majority, majority), axis=1)[:, 1:]
  knn_of_majority = -among_majority[:, : distances.NUM_NEIGHBORS].mean(axis=1)
  parts = [
    (mean.scores(test), mean.scores(majority)),
    (distances.one_class_knn(majority).scores(test), knn_of_majority),
  ]
  expected = sum((scores - own.mean()) / own.std() for scores, own in parts)
  known = distances.measure_neighbors(majority)
  got = distances.class_mean_and_knn(known, minority, 0).scores(test)
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_mahalanobis_of_features_that_never_change_is_finite(blobs):
  majority, _, test = blobs
  dead = np.column_stack([majority, np.zeros((len(majority), 2))])
  scores = distances.mahalanobis(dead).scores(np.column_stack([test, test[:, :2]]))
  assert np.isfinite(scores).all() and scores.std() > 0


@pytest.mark.parametrize('num_majority', [1, 2])
@pytest.mark.parametrize(
  'name', ['nearest_class_mean', 'one_class_knn', 'class_mean_and_knn', 'mahalanobis']
)
def test_hardly_any_majority_images(name, num_majority):
  majority = np.eye(3)[:num_majority]
  scorer = rivals.get(name).fit(majority, np.array([[9.0, 9.0, 9.0]]))
  near, far = scorer.scores(np.array([[1.0, 0.1, 0.0], [8.0, 8.0, 9.0]]))
  assert near > far
  noted = name == 'mahalanobis'
  noted |= name == 'class_mean_and_knn' and num_majority == 1
  assert bool(scorer.note) == noted


@pytest.mark.parametrize(
  'name', ['one_class_knn', 'class_mean_and_knn', 'mahalanobis', 'plda_knn']
)
def test_majority_images_all_alike(name):
  """What rounding makes of them is no unit to count distances in."""
  row = np.random.default_rng(0).random(64, np.float32)
  scorer = rivals.get(name).fit(np.tile(row, (200, 1)), row[None] + np.eye(64)[:2])
  alike, near, far = scorer.scores(row + np.eye(64)[0] * np.array([[0], [0.5], [1]]))
  assert alike > near > far > -1e3
  assert ('all alike' in scorer.note) == (name != 'one_class_knn')


def test_always_minority(blobs):
  majority, _, test = blobs
  assert (distances.always_minority(majority).scores(test) < 0).all()
