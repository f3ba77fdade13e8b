"""Rivals that measure distances between features; nothing is trained.

Each takes majority features float64 `[M, C]`, or what was measured of them, and returns a
`Scorer`. Those that look at minority features `[n, C]` take them and a seed too, which
they have no use for.
"""

import dataclasses

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from egan_jax import scorers, two_covariance
from egan_jax.scorers import NUM_NEIGHBORS, Scorer


def always_minority(majority: np.ndarray) -> Scorer:
  """The floor: -1 for every image."""
  del majority
  return scorers.make({'value': -1.0}, 'constant')


def nearest_class_mean(majority: np.ndarray, minority: np.ndarray, seed: int) -> Scorer:
  """Squared distance to the minority's mean less that to the majority's.

  Linear in the features, with 0 half way between the means (Mensink et al.,
  "Distance-based image classification", 2013; Snell et al., "Prototypical networks
  for few-shot learning", 2017).
  """
  del seed
  return scorers.make(_between_means(majority, minority), 'linear')


def one_class_knn(majority: np.ndarray) -> Scorer:
  """Mean distance to the nearest majority images, negated.

  Bergman, Cohen & Hoshen, "Deep nearest neighbor anomaly detection", 2020.
  """
  return scorers.make(_index(majority), 'knn')


@dataclasses.dataclass(frozen=True)
class Neighbors:
  """One-class kNN and its scores of the majority images that it consists of.

  Attributes:
    majority: features `[M, C]`.
    arrays: of its scorer.
    mean: of the scores; there a majority image is no neighbour of its own.
    deviation: of the scores, or 1 where they have none.
    note: why they have none, or ''.
  """

  majority: np.ndarray
  arrays: dict[str, np.ndarray]
  mean: float
  deviation: float
  note: str = ''


def measure_neighbors(majority: np.ndarray) -> Neighbors:
  """The part of `class_mean_and_knn` that no minority image changes."""
  if len(majority) == 1:
    note = 'one majority image: the distance to it is in units of the features'
    return Neighbors(majority, _index(majority), 0.0, 1.0, note)
  if not two_covariance.has_spread(majority):
    note = 'majority images all alike: distances to them are in units of the features'
    return Neighbors(majority, _index(majority), 0.0, 1.0, note)
  index = NearestNeighbors(
    n_neighbors=min(NUM_NEIGHBORS, len(majority) - 1), algorithm='brute'
  ).fit(majority)
  scores = -index.kneighbors()[0].mean(axis=1)
  return Neighbors(majority, _index(majority), scores.mean(), scores.std() or 1.0)


def class_mean_and_knn(knn: Neighbors, minority: np.ndarray, seed: int) -> Scorer:
  """Nearest class mean plus one-class kNN.

  Both are measured in standard deviations from their mean on the majority.
  """
  del seed
  majority = knn.majority
  line = _between_means(majority, minority)
  of_majority = (majority - line['centre']) @ line['weights']
  deviation = 1.0 if knn.note else of_majority.std() or 1.0
  arrays = {
    'class_mean': {
      'centre': line['centre'],
      'weights': line['weights'] / deviation,
      'offset': -of_majority.mean() / deviation,
    },
    'knn': knn.arrays,
    'mean': knn.mean,
    'deviation': knn.deviation,
  }
  return scorers.make(arrays, 'class_mean_and_knn', knn.note)


def mahalanobis(majority: np.ndarray) -> Scorer:
  """Squared Mahalanobis distance to the majority, negated; covariance shrunk.

  Rippel, Mertens & Merhof, "Modeling the distribution of normal data in pre-trained
  deep features for anomaly detection", 2021, with the shrinkage of Ledoit & Wolf,
  "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
  """
  centre = majority.mean(axis=0)
  note = ''
  if len(majority) < 3:
    note = 'fewer than three majority images have no spread to estimate: plain distance'
  elif not two_covariance.has_spread(majority):
    note = 'majority images all alike have no spread to estimate: plain distance'
  if note:
    arrays = {'centre': centre, 'whitening': np.eye(len(centre))}
    return scorers.make(arrays, 'mahalanobis', note)
  covariance = LedoitWolf(store_precision=False).fit(majority).covariance_
  return scorers.make(
    {'centre': centre, 'whitening': _whitening(covariance)}, 'mahalanobis'
  )


def _between_means(majority: np.ndarray, minority: np.ndarray) -> dict[str, np.ndarray]:
  """The line that is 0 half way between the means."""
  of_majority, of_minority = majority.mean(axis=0), minority.mean(axis=0)
  return {
    'centre': (of_majority + of_minority) / 2,
    'weights': 2 * (of_majority - of_minority),
    'offset': 0.0,
  }


def _index(majority: np.ndarray) -> dict[str, np.ndarray]:
  centre = majority.mean(axis=0)
  return {'centre': centre, 'index': majority - centre}


def _whitening(covariance: np.ndarray) -> np.ndarray:
  """`[C, R]`, its product with its transpose the (pseudo-)inverse, of rank R."""
  variances, directions = np.linalg.eigh(covariance)
  spread = variances > variances[-1] * len(variances) * np.finfo(np.float64).eps
  return directions[:, spread] / np.sqrt(variances[spread])
