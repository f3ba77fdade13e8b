"""Rivals that measure distances between features; nothing is trained.

Each takes majority features float `[M, C]` and returns a `Scorer`. Those that look
at minority features `[n, C]` take them and a seed too, which they have no use for.
"""

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from egan_jax.rivals.rival import Scorer

# Of "deep nearest neighbour" anomaly detection, DN2 (Bergman et al. 2020).
NUM_NEIGHBORS = 2


def always_minority(majority: np.ndarray) -> Scorer:
  """The floor: -1 for every image."""
  del majority
  return Scorer(lambda features: np.full(len(features), -1.0))


def nearest_class_mean(majority: np.ndarray, minority: np.ndarray, seed: int) -> Scorer:
  """Squared distance to the minority's mean less that to the majority's.

  Linear in the features, with 0 half way between the means (Mensink et al.,
  "Distance-based image classification", 2013; Snell et al., "Prototypical networks
  for few-shot learning", 2017).
  """
  del seed
  means = majority.mean(axis=0), minority.mean(axis=0)
  direction = 2 * (means[0] - means[1])
  offset = np.sum(means[1] ** 2) - np.sum(means[0] ** 2)
  return Scorer(lambda features: np.asarray(features, np.float64) @ direction + offset)


def one_class_knn(majority: np.ndarray) -> Scorer:
  """Mean distance to the nearest majority images, negated.

  Bergman, Cohen & Hoshen, "Deep nearest neighbor anomaly detection", 2020.
  """
  index = _index(majority, min(NUM_NEIGHBORS, len(majority)))
  return Scorer(lambda features: -index.kneighbors(features)[0].mean(axis=1))


def class_mean_and_knn(majority: np.ndarray, minority: np.ndarray, seed: int) -> Scorer:
  """Nearest class mean plus one-class kNN.

  Both are measured in standard deviations from their mean on the majority; there a
  majority image is no neighbour of its own.
  """
  class_mean = nearest_class_mean(majority, minority, seed)
  knn = one_class_knn(majority)
  place_mean = _standardise(class_mean.scores(majority))
  if len(majority) > 1:
    others = _index(majority, min(NUM_NEIGHBORS, len(majority) - 1))
    place_knn = _standardise(-others.kneighbors()[0].mean(axis=1))
    note = ''
  else:
    place_knn = _standardise(np.zeros(1))
    note = 'one majority image: the distance to it is in units of the features'

  def scores(features):
    return place_mean(class_mean.scores(features)) + place_knn(knn.scores(features))

  return Scorer(scores, note)


def mahalanobis(majority: np.ndarray) -> Scorer:
  """Squared Mahalanobis distance to the majority, negated; covariance shrunk.

  Rippel, Mertens & Merhof, "Modeling the distribution of normal data in pre-trained
  deep features for anomaly detection", 2021, with the shrinkage of Ledoit & Wolf,
  "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
  """
  if len(majority) < 3:
    centre = majority.mean(axis=0)
    return Scorer(
      lambda features: -np.sum((np.asarray(features) - centre) ** 2, axis=1),
      'fewer than three majority images have no spread to estimate: plain distance',
    )
  covariance = LedoitWolf().fit(majority)
  return Scorer(lambda features: -covariance.mahalanobis(np.asarray(features)))


def _index(images: np.ndarray, num_neighbors: int) -> NearestNeighbors:
  """Finds neighbours among features `[M, C]`."""
  return NearestNeighbors(n_neighbors=num_neighbors, algorithm='brute').fit(images)


def _standardise(reference: np.ndarray):
  """A function to standard deviations from the mean of `reference`."""
  mean, deviation = reference.mean(), reference.std() or 1.0
  return lambda scores: (scores - mean) / deviation
