"""Rivals that fit a logistic regression on standardised features.

Each takes majority features float `[M, C]`, minority features `[n, C]` and a seed
and returns a `Scorer` of log odds for the majority; the balanced one takes all draws at
once. The standardisation is folded into the weights.

The prior variance of each weight (scikit-learn's `C`, one over the penalty) is one over
the number of features, so that the log odds of a standardised image have a prior
variance of 1 however many features there are. With scikit-learn's default of 1 it would
be their number, and a few minority images are learnt by heart.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from egan_jax import logistic_regression, scorers
from egan_jax.scorers import Scorer

NUM_NEIGHBORS = 5  # of SMOTE's paper


def logistic_balanced(
  majority: np.ndarray,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  """Each class counts half, however few its images (King & Zeng 2001).

  "Logistic regression in rare events data", weighting; scikit-learn's
  `class_weight='balanced'`. Features are standardised on the majority, so that all
  draws `[D, n, C]` share it and are fitted side by side.
  """
  del seeds, training
  scaler = StandardScaler().fit(majority)
  size = majority.shape[1]
  of_minority = scaler.transform(np.reshape(minority, (-1, size)))
  lines = jax.device_get(
    logistic_regression.fit_balanced(
      jnp.asarray(scaler.transform(majority), jnp.float32),
      np.ones((1, len(majority)), bool),
      jnp.asarray(of_minority.reshape(minority.shape), jnp.float32),
      penalty=float(size),
    )
  )
  return [
    scorers.make(
      {'centre': scaler.mean_, 'weights': weights / scaler.scale_, 'offset': offset},
      'linear',
    )
    for weights, offset in zip(lines.weights[0], lines.offset[0], strict=True)
  ]


def logistic_logit_adjusted(
  majority: np.ndarray, minority: np.ndarray, seed: int
) -> Scorer:
  """Every image counts the same, and the log odds of the class sizes are taken off.

  Menon et al., "Long-tail learning via logit adjustment", 2021. Their adjusted loss
  and the adjustment afterwards are one and the same here, where the intercept is
  free and not penalised.
  """
  del seed
  log_odds = np.log(len(majority) / len(minority))
  return _regress(*_join(majority, minority), adjustment=-log_odds)


def smote_logistic(majority: np.ndarray, minority: np.ndarray, seed: int) -> Scorer:
  """Minority images interpolated until the classes are equal, then regression.

  Chawla et al., "SMOTE: Synthetic minority over-sampling technique", 2002, between
  each image and its 5 nearest of the minority; fewer if there are not that many.
  """
  num_neighbors = min(NUM_NEIGHBORS, len(minority) - 1)
  wanted = {'sampling_strategy': {False: max(len(majority), len(minority))}}
  if num_neighbors == 0:
    sampler = RandomOverSampler(random_state=seed, **wanted)
    note = 'SMOTE needs two minority images to interpolate: the one is repeated'
  else:
    sampler = SMOTE(k_neighbors=num_neighbors, random_state=seed, **wanted)
    note = ''
    if num_neighbors < NUM_NEIGHBORS:
      note = (
        f'SMOTE with {num_neighbors} neighbours: there are {len(minority)} minority'
        ' images'
      )
  return _regress(*_join(majority, minority), sampler, note=note)


def _join(majority: np.ndarray, minority: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Features `[M + n, C]` and bool `[M + n]`, true for the majority."""
  features = np.concatenate([majority, minority])
  return features, np.arange(len(features)) < len(majority)


def _regress(
  features: np.ndarray,
  is_majority: np.ndarray,
  sampler: BaseOverSampler | str = 'passthrough',
  adjustment: float = 0.0,
  note: str = '',
) -> Scorer:
  """Fits features `[N, C]`; `adjustment` is added to the log odds for the majority."""
  # Solved to the end: few minority images move the scores so little that what an
  # earlier stop leaves open differs more between fits than images do.
  regression = LogisticRegression(
    C=1 / features.shape[1],
    max_iter=1000,
    solver='newton-cholesky',
    tol=1e-8,
  )
  scaler = StandardScaler()
  make_pipeline(scaler, sampler, regression).fit(features, is_majority)
  arrays = {
    'centre': scaler.mean_,
    'weights': regression.coef_[0] / scaler.scale_,
    'offset': regression.intercept_[0] + adjustment,
  }
  return scorers.make(arrays, 'linear', note)
