"""The two-covariance model: a class of many images against one of a few.

Features of the majority are N(m, W). The minority's are N(m + delta, W), and of the
difference delta only its distribution over pairs of classes is known, N(0, B). The
minority's n images make that a posterior, also normal, and the score of an image is
the log-likelihood ratio of the two predictive distributions. It is probabilistic
linear discriminant analysis (Prince & Elder, "Probabilistic linear discriminant
analysis for inferences about identity", 2007; Brummer & de Villiers, "The speaker
partitioning problem", 2010) with one class so well sampled that it is known.

W and B are diagonalised together once per majority: V' W V = I and V' B V = diag(b).
In y = V' (z - m) all dimensions are independent, whence a fit on few images is
elementwise and a score a product with V and a sum.

z are a backbone's features to a power, sign kept: the root of pooled activations is
nearer to a normal than they are themselves. A feature that no majority image varies in
has no part in B, so the model does not see it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

Arrays = Mapping[str, Any]

NUM_NEIGHBORS = 5

# Directions with less than this of the largest prior variance say nothing.
_NEGLIGIBLE = 1e-8


@dataclasses.dataclass(frozen=True)
class Covariances:
  """How W and B come of the covariance C of M majority images.

  The power was chosen on pairs of CIFAR-100 classes (experiments.few_images.search);
  the other constants were a first guess; the search found nothing clearly better.

  Attributes:
    power: of the features' absolute values.
    spherical: share of W that is a sphere: W = (1 - s) C + s tr(C) / d I.
    between: the trace of B, in units of the trace of C.
  """

  power: float = 0.5
  spherical: float = 0.1
  between: float = 0.3


@dataclasses.dataclass(frozen=True)
class Majority:
  """What the model knows before it sees a minority image; float64.

  Attributes:
    power: of the features.
    centre: m `[C]`.
    projection: V `[C, R]`.
    variances: b `[R]`, of delta along each direction, in units of W.
    note: what was done otherwise for want of images, or ''.
  """

  power: float
  centre: np.ndarray
  projection: np.ndarray
  variances: np.ndarray
  note: str = ''

  def project(self, features: np.ndarray) -> np.ndarray:
    """y float64 `[..., R]` of features `[..., C]`."""
    z = np.asarray(raise_to(np.asarray(features, np.float64), self.power, np))
    return (z - self.centre) @ self.projection


def measure_majority(
  majority: np.ndarray,
  class_directions: np.ndarray | None = None,
  covariances: Covariances | None = None,
) -> Majority:
  """The majority's part of the model.

  Args:
    majority: features `[M, C]`.
    class_directions: `[C, K]`, the weights F of a classifier of K other classes,
      less their mean. Under a linear discriminant model the covariance of z with
      that classifier's logits has in its columns how the means of these
      classes differ, so B is proportional to its product with its transpose.
      Without them it is that of C.
    covariances: the model's constants.
  """
  constants = covariances or Covariances()
  features = np.asarray(majority, np.float64)
  z = raise_to(features, constants.power, np)
  centre = z.mean(axis=0)
  centred = z - centre
  covariance = centred.T @ centred / len(z)
  if not has_spread(z):
    size = len(centre)
    note = 'majority images all alike show no spread: it is taken to be 1'
    between = constants.between * np.ones(size)
    return Majority(constants.power, centre, np.eye(size), between, note)
  root = covariance
  if class_directions is not None and np.any(class_directions):
    root = centred.T @ (features @ class_directions) / len(z)
  trace, size = np.trace(covariance), len(covariance)
  within = (1 - constants.spherical) * covariance
  within[np.diag_indices(size)] += constants.spherical * trace / size
  scale = np.sqrt(constants.between * trace / np.sum(root**2))
  return Majority(constants.power, centre, *_diagonalise(within, root * scale))


def has_spread(features: np.ndarray) -> bool:
  """Whether images `[M, C]` differ by more than rounding of float32 features makes."""
  rounding = 8 * np.finfo(np.float32).eps
  spread = np.linalg.norm(features - features.mean(axis=0))
  return bool(spread > rounding * np.linalg.norm(features))


def raise_to(features: Any, power: Any, xp: Any = jnp) -> Any:
  """Features to a power, sign kept; `xp` is the module of their arrays."""
  is_zero = features == 0  # where a root has no gradient
  # Plain numbers would be float64 to jax2onnx, which JAX warns of.
  others = xp.where(is_zero, xp.ones_like(features), features)
  powers = xp.sign(others) * xp.abs(others) ** power
  return xp.where(is_zero, xp.zeros_like(powers), powers)


def _diagonalise(within, root):
  """V `[C, R]` and b `[R]`: V' W V = I and V' root root' V = diag(b)."""
  factor = scipy.linalg.cholesky(within, lower=True)
  whitened = scipy.linalg.solve_triangular(factor, root, lower=True)
  size, rank = whitened.shape
  # The smaller of the two products has the same eigenvalues.
  if rank < size:
    variances, vectors = scipy.linalg.eigh(whitened.T @ whitened)
    kept = variances > _NEGLIGIBLE * variances[-1]
    vectors = whitened @ vectors[:, kept] / np.sqrt(variances[kept])
  else:
    variances, vectors = scipy.linalg.eigh(whitened @ whitened.T)
    kept = variances > _NEGLIGIBLE * variances[-1]
    vectors = vectors[:, kept]
  projection = scipy.linalg.solve_triangular(factor, vectors, lower=True, trans='T')
  return projection, variances[kept]


def infer(projected: jax.Array, variances: jax.Array) -> dict[str, jax.Array]:
  """The posterior of delta along each direction, from a draw's minority images.

  Args:
    projected: of the n images, y float `[n, R]`.
    variances: b `[R]`.

  Returns:
    `mean` and `variance` `[R]`.
  """
  n = projected.shape[0]
  variance = variances / (1 + n * variances)
  return {'mean': variance * n * projected.mean(axis=0), 'variance': variance}


def ratio(posterior: Arrays) -> dict[str, jax.Array]:
  """The log-likelihood ratio as a polynomial in y.

  log N(y; 0, 1) - log N(y; mean, 1 + variance), summed over the directions.

  Returns:
    `quadratic` and `linear` `[R]` and `constant` `[]`.
  """
  mean, spread = posterior['mean'], 1 + posterior['variance']
  return {
    'quadratic': -posterior['variance'] / (2 * spread),
    'linear': -mean / spread,
    'constant': jnp.sum(mean**2 / spread + jnp.log1p(posterior['variance'])) / 2,
  }


def evaluate(polynomial: Arrays, projected: jax.Array) -> jax.Array:
  """The log-likelihood ratio float `[B]` at y `[B, R]`."""
  terms = projected * (projected * polynomial['quadratic'] + polynomial['linear'])
  return jnp.sum(terms, axis=1) + polynomial['constant']


def score_plda(arrays: Arrays, features: jax.Array) -> jax.Array:
  """Log-likelihood ratio `[B]` of the majority to the minority.

  Args:
    arrays: `power` `[]`, `centre` `[C]`, `projection` `[C, R]` and the polynomial of
      `ratio`.
    features: float32 `[B, C]`.
  """
  z = raise_to(features, arrays['power'])
  return evaluate(arrays, (z - arrays['centre']) @ arrays['projection'])


def score_neighbors(index: jax.Array, features: jax.Array) -> jax.Array:
  """Mean cosine of features `[B, C]` to the 5 nearest of `index` `[M, C]`, less 1.

  The rows of the index have norm 1.
  """
  norms = jnp.linalg.norm(features, axis=1, keepdims=True)
  # Features that are all zero have no direction.
  units = features / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)
  cosines = units @ index.T
  nearest, _ = jax.lax.top_k(cosines, min(NUM_NEIGHBORS, index.shape[0]))
  return nearest.mean(axis=1) - 1


def score_plda_knn(arrays: Arrays, features: jax.Array) -> jax.Array:
  """The log-likelihood ratio plus one-class kNN, weighed, each in its own unit.

  Args:
    arrays: `plda`, as of `score_plda`; `index` `[M, C]` of rows of norm 1; of both
      parts' scores of held-out majority images, `plda_mean`, `plda_deviation`,
      `knn_mean` and `knn_deviation`; and `knn_weight`.
    features: float32 `[B, C]`.
  """
  plda = score_plda(arrays['plda'], features)
  knn = score_neighbors(arrays['index'], features)
  return (plda - arrays['plda_mean']) / arrays['plda_deviation'] + arrays[
    'knn_weight'
  ] * (knn - arrays['knn_mean']) / arrays['knn_deviation']
