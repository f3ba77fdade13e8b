"""The two-covariance model, one-class kNN and a logistic regression, added up.

The first two make the most of one image and the regression of many; it gains weight with
their number. Like `plda_knn`, which it adds the regression to, it can be told how other
classes differ: see `egan_jax.two_covariance`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from egan_jax import logistic_regression, scorers, two_covariance
from egan_jax.logistic_regression import Line
from egan_jax.rivals import plda
from egan_jax.rivals.plda import WithNeighbors
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import FEATURES, Scorer

NAME = 'fusion'


def rival(class_directions: np.ndarray | None = None, remembered: int = 2) -> Rival:
  """'fusion', with what it is to know of other classes; arguments as of `plda.rival`."""
  measure = functools.partial(_measure, class_directions=class_directions)
  return Rival(
    NAME,
    FEATURES,
    decides_at_zero=False,
    from_one_image='the posterior of its class, given it',
    fit_draws=functools.partial(_fit_draws, plda.remember(measure, remembered)),
  )


def weigh_logistic(num_minority: int) -> float:
  """A quarter for one image, growing with the root of their number up to 2.

  Chosen on pairs of CIFAR-100 classes (experiments.few_images_search).
  """
  return min(math.sqrt(num_minority) / 4, 2.0)


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
  standardised: jax.Array
  is_fitted: np.ndarray


def _measure(majority: np.ndarray, class_directions: np.ndarray | None) -> _Known:
  neighbors = plda.measure_with_neighbors(majority, class_directions)
  roots = two_covariance.raise_to(majority, neighbors.model.power, np)
  centre, deviation = roots.mean(axis=0), roots.std(axis=0)
  deviation[deviation == 0] = 1
  is_fitted = np.ones((2, len(majority)), bool)
  if len(majority) > 1:
    is_fitted[1, neighbors.held_out] = False
  standardised = jnp.asarray((roots - centre) / deviation, jnp.float32)
  return _Known(neighbors, centre, deviation, standardised, is_fitted)


def _fit_draws(
  measure: Callable[[np.ndarray], _Known],
  majority: np.ndarray,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  del seeds, training
  minority = np.asarray(minority)
  known = measure(np.asarray(majority))
  neighbors = known.neighbors
  roots = two_covariance.raise_to(minority, neighbors.model.power, np)
  # The penalty gives log odds of standardised images a prior variance of 1, as in
  # `linear`.
  lines = jax.device_get(
    logistic_regression.fit(
      known.standardised,
      known.is_fitted,
      jnp.asarray((roots - known.centre) / known.deviation, jnp.float32),
      penalty=float(minority.shape[2]),
      balanced=True,
    )
  )
  held_out = np.asarray(known.standardised[neighbors.held_out], np.float64)
  fits = plda.fit_with_neighbors(neighbors, minority)
  made = []
  for draw, (arrays, scores) in enumerate(fits):
    line, partial = (
      Line(lines.weights[subset, draw], lines.offset[subset, draw]) for subset in (0, 1)
    )
    log_odds = held_out @ partial.weights + partial.offset
    weights = line.weights / known.deviation
    arrays = {
      'plda_knn': arrays,
      'plda_knn_mean': scores.mean(),
      'plda_knn_deviation': scores.std() or 1.0,
      'logistic': {'centre': known.centre, 'weights': weights, 'offset': line.offset},
      'logistic_mean': log_odds.mean(),
      'logistic_deviation': log_odds.std() or 1.0,
      'logistic_weight': weigh_logistic(minority.shape[1]),
    }
    made.append(scorers.make(arrays, NAME, neighbors.model.note))
  return made
