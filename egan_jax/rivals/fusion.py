"""The two-covariance model, one-class kNN and a logistic regression, added up.

The first two make the most of one image and the regression of many; it gains weight with
their number. Like `plda_knn`, which it adds the regression to, it can be told how other
classes differ: see `egan_jax.two_covariance`.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from sklearn.preprocessing import StandardScaler

from egan_jax import logistic_regression, scorers, two_covariance
from egan_jax.evaluation.score_models import FEWEST_SCORES
from egan_jax.float32_products import in_float32
from egan_jax.logistic_regression import Line
from egan_jax.rivals import plda
from egan_jax.rivals.plda import WithNeighbors, measure_unit
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import FEATURES, Scorer

NAME = 'fusion'


def rival(class_directions: np.ndarray | None = None) -> Rival:
  """'fusion', with what it is to know of other classes; arguments as of `plda.rival`."""
  return Rival(
    NAME,
    FEATURES,
    decides_at_zero=False,
    from_one_image='the posterior of its class, given it',
    fit_draws=_fit_draws,
    measure=functools.partial(_measure, class_directions=class_directions),
  )


def weigh_logistic(num_minority: int) -> float:
  """A quarter for one image, growing with the root of their number up to 2.

  Chosen on pairs of CIFAR classes (experiments.few_images.fusion_search).
  """
  return min(math.sqrt(num_minority) / 4, 2.0)


def forecast(unlikeness: float) -> tuple[float, float]:
  """Mean and deviation of new minority images' scores, where too few can be left out.

  The one-class part never saw a minority image, so it tells of the given ones what it
  will tell of new ones. Its mean over them says most of where the sum will lie: two
  deviations lower, on pairs of CIFAR classes and of digits. There the forecast errs by
  1.1 to 3.2, and images differ the more the further away they are
  (experiments.few_images.forecast).

  Args:
    unlikeness: mean score of the minority images by the one-class part alone, like the
      result in deviations of majority images that it was not fitted to.
  """
  mean = unlikeness - 2
  return mean, math.hypot(1.5, 0.35 * mean)


@dataclasses.dataclass(frozen=True)
class _Known:
  """What it knows before it sees a minority image.

  Attributes:
    neighbors: for `plda_knn`.
    centre: of the features' roots, `[C]`.
    deviation: of these, `[C]`.
    standardised: roots of the majority, `[M, C]`.
    is_fitted: bool `[2, M]`: all images, and those that `neighbors` does not hold out.
  """

  neighbors: WithNeighbors
  centre: np.ndarray
  deviation: np.ndarray
  standardised: np.ndarray
  is_fitted: np.ndarray


def _measure(majority: np.ndarray, class_directions: np.ndarray | None) -> _Known:
  majority = np.asarray(majority)
  neighbors = plda.measure_with_neighbors(majority, class_directions)
  roots = two_covariance.raise_to(majority, neighbors.model.power, np)
  scaler = StandardScaler().fit(np.asarray(roots, np.float64))
  centre, deviation = scaler.mean_, scaler.scale_  # 1 where all are alike
  is_fitted = np.ones((2, len(majority)), bool)
  if len(majority) > 1:
    is_fitted[1, neighbors.held_out] = False
  standardised = np.asarray((roots - centre) / deviation, np.float32)
  return _Known(neighbors, centre, deviation, standardised, is_fitted)


def _fit_draws(
  known: _Known,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  del seeds, training
  minority = np.asarray(minority)
  neighbors = known.neighbors
  roots = two_covariance.raise_to(minority, neighbors.model.power, np)
  # The penalty gives log odds of standardised images a prior variance of 1, as in
  # `linear`.
  lines = logistic_regression.fit(
    known.standardised,
    known.is_fitted,
    np.asarray((roots - known.centre) / known.deviation, np.float32),
    penalty=float(minority.shape[2]),
    balanced=True,
  )
  held_out = known.standardised[neighbors.held_out].astype(np.float64)
  fits = plda.fit_with_neighbors(neighbors, minority)
  unlikeness = _score_one_class(neighbors, minority)
  logistic_weight = weigh_logistic(minority.shape[1])
  made = []
  for draw, (arrays, scores) in enumerate(fits):
    line, partial = (
      Line(lines.weights[subset, draw], lines.offset[subset, draw]) for subset in (0, 1)
    )
    log_odds = held_out @ partial.weights + partial.offset
    of_scores, of_log_odds = measure_unit(scores), measure_unit(log_odds)
    weights = line.weights / known.deviation
    arrays = {
      'plda_knn': arrays,
      'plda_knn_mean': of_scores.mean,
      'plda_knn_deviation': of_scores.deviation,
      'logistic': {'centre': known.centre, 'weights': weights, 'offset': line.offset},
      'logistic_mean': of_log_odds.mean,
      'logistic_deviation': of_log_odds.deviation,
      'logistic_weight': logistic_weight,
    }
    if minority.shape[1] < FEWEST_SCORES:
      fused = of_scores.count(scores) + logistic_weight * of_log_odds.count(log_odds)
      in_units = np.array(forecast(unlikeness[draw]))
      arrays['minority_score_distribution'] = in_units * measure_unit(fused).deviation
    made.append(scorers.make(arrays, NAME, neighbors.model.note))
  return made


def _score_one_class(neighbors: WithNeighbors, minority: np.ndarray) -> np.ndarray:
  """Mean over each draw's images `[D, n, C]`, in deviations of the majority's."""
  knn = _score_neighbors(neighbors.index, minority.reshape(-1, minority.shape[2]))
  means = np.asarray(knn).reshape(minority.shape[:2]).mean(axis=1)
  return neighbors.knn_unit.count(means)


_score_neighbors = jax.jit(in_float32(two_covariance.score_neighbors))
