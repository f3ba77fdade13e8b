"""The two-covariance model as a rival, alone and with one-class kNN.

It works from one minority image on, and what a classifier of other classes knows of
how classes differ can be given to it: see `egan_jax.two_covariance`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.neighbors import NearestNeighbors

from egan_jax import scorers, two_covariance
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import FEATURES, Scorer
from egan_jax.two_covariance import Covariances, Majority

NAMES = ('plda', 'plda_knn')
_HELD_OUT_SHARE = 0.2


def weigh_knn(num_minority: int) -> float:
  """1 for one image and half of that for many, which tell more than their absence.

  Chosen on pairs of CIFAR-100 classes (experiments.few_images.search).
  """
  return 0.5 + 0.5 / num_minority


def rival(
  name: str,
  class_directions: np.ndarray | None = None,
  covariances: Covariances | None = None,
) -> Rival:
  """'plda' or 'plda_knn', with what it is to know of other classes.

  'plda' is the log-likelihood ratio of majority to minority; at 0 they are equally
  likely. 'plda_knn' adds, weighed by `weigh_knn`, the mean cosine to the 5 nearest
  majority images. Each is in standard deviations from its mean on majority images held
  out from it: a fifth of them, always the same, by a fit without them; of the cosine,
  each image in turn.

  Args:
    name: which of them.
    class_directions: `[C, K]` or None, see `two_covariance.measure_majority`.
    covariances: likewise.
  """
  measure, fit_draws = {
    'plda': (two_covariance.measure_majority, _fit_plda),
    'plda_knn': (measure_with_neighbors, _fit_plda_knn),
  }[name]
  return Rival(
    name,
    FEATURES,
    decides_at_zero=name == 'plda',
    from_one_image='the posterior of its class, given it',
    fit_draws=fit_draws,
    measure=functools.partial(
      measure, class_directions=class_directions, covariances=covariances
    ),
  )


def _fit_plda(
  known: Majority,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  del seeds, training
  fits = _fit(known, np.asarray(minority))
  return [scorers.make(arrays, 'plda', known.note) for arrays in fits]


def _fit(model: Majority, minority: np.ndarray) -> list[dict]:
  """The arrays of each draw's scorer, from minority features `[D, n, C]`."""
  # Shared by all draws, so put on the device once.
  shared = {
    'power': model.power,
    'centre': jnp.asarray(model.centre, jnp.float32),
    'projection': jnp.asarray(model.projection, jnp.float32),
  }
  of_draws = _infer_draws(model.project(minority), model.variances)
  return [
    {**shared, **jax.tree.map(lambda a, draw=draw: a[draw], of_draws)}
    for draw in range(len(minority))
  ]


@jax.jit
def _infer_draws(projected: jax.Array, variances: jax.Array) -> dict[str, jax.Array]:
  """From minority images `[D, n, R]` to each draw's log-likelihood ratio."""

  def infer(images):
    return two_covariance.ratio(two_covariance.infer(images, variances))

  return jax.vmap(infer)(projected)


@dataclasses.dataclass(frozen=True)
class WithNeighbors:
  """What 'plda_knn' knows before it sees a minority image.

  Attributes:
    model: of all majority images.
    index: the majority `[M, C]`, rows of norm 1.
    knn_scores: of each to the others, `[M]`.
    partial_model: of the majority images that are not held out.
    held_out: positions `[H]` of those that are.
    held_out_projected: y `[H, R]` of these, by the partial model.
  """

  model: Majority
  index: jax.Array
  knn_scores: np.ndarray
  partial_model: Majority
  held_out: np.ndarray
  held_out_projected: np.ndarray

  @property
  def knn_unit(self) -> 'Unit':
    """Of the majority's cosines to its neighbours."""
    return measure_unit(self.knn_scores)


class Unit(NamedTuple):
  """What scores are counted in: the mean and deviation of majority images'."""

  mean: float
  deviation: float

  def count(self, scores: np.ndarray) -> np.ndarray:
    """The scores in this unit."""
    return (scores - self.mean) / self.deviation


def measure_unit(scores: np.ndarray) -> Unit:
  """The unit of the majority's scores `[m]`; scores all alike are not divided."""
  mean, deviation = float(scores.mean()), float(scores.std())
  rounding = 8 * np.finfo(np.float32).eps * max(1.0, abs(mean))
  return Unit(mean, deviation if deviation > rounding else 1.0)


def measure_with_neighbors(
  majority: np.ndarray,
  class_directions: np.ndarray | None = None,
  covariances: Covariances | None = None,
) -> WithNeighbors:
  """Arguments as of `two_covariance.measure_majority`."""
  measure = functools.partial(
    two_covariance.measure_majority,
    class_directions=class_directions,
    covariances=covariances,
  )
  majority = np.asarray(majority)
  norms = np.linalg.norm(majority, axis=1, keepdims=True)
  index = majority / np.maximum(norms, np.finfo(np.float32).tiny)
  order = np.random.default_rng(0).permutation(len(majority))
  # One image is all there is to fit on and to hold out.
  size = int(np.ceil(_HELD_OUT_SHARE * len(majority))) if len(majority) > 1 else 0
  partial, held_out = measure(majority[order[size:]]), order[: max(size, 1)]
  return WithNeighbors(
    measure(majority),
    jnp.asarray(index, jnp.float32),
    _score_neighbors_among(index),
    partial,
    held_out,
    partial.project(majority[held_out]),
  )


def _score_neighbors_among(index: np.ndarray) -> np.ndarray:
  """`two_covariance.score_neighbors` of each row by the others."""
  count = min(two_covariance.NUM_NEIGHBORS, len(index) - 1)
  if count == 0:
    return np.zeros(1)
  nearest = NearestNeighbors(n_neighbors=count, metric='cosine', algorithm='brute')
  return -nearest.fit(index).kneighbors()[0].mean(axis=1)


def fit_with_neighbors(
  known: WithNeighbors, minority: np.ndarray
) -> list[tuple[dict, np.ndarray]]:
  """Of each draw `[D, n, C]` the arrays of 'plda_knn', and scores of the held out `[H]`.

  No model that gave one of these scores was fitted to the image it is of.
  """
  knn_unit = known.knn_unit
  knn_weight = weigh_knn(minority.shape[1])
  knn = knn_weight * knn_unit.count(known.knn_scores[known.held_out])
  shared = {
    'index': known.index,
    'knn_weight': knn_weight,
    'knn_mean': knn_unit.mean,
    'knn_deviation': knn_unit.deviation,
  }
  fits = []
  for arrays, partial in zip(
    _fit(known.model, minority), _fit(known.partial_model, minority), strict=True
  ):
    scores = two_covariance.evaluate(partial, known.held_out_projected)
    scores = np.asarray(scores, np.float64)
    unit = measure_unit(scores)
    of_plda = {'plda_mean': unit.mean, 'plda_deviation': unit.deviation}
    fits.append(({**shared, 'plda': arrays, **of_plda}, unit.count(scores) + knn))
  return fits


def _fit_plda_knn(
  known: WithNeighbors,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  del seeds, training
  fits = fit_with_neighbors(known, np.asarray(minority))
  return [scorers.make(arrays, 'plda_knn', known.model.note) for arrays, _ in fits]
