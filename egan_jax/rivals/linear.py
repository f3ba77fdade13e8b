"""Rivals that fit a logistic regression on standardised features.

Each takes the majority, minority features of each draw `[D, n, C]` and seeds `[D]`, and
returns D `Scorer` of log odds for the majority. Features are standardised on the
majority, which all draws share, so that they are fitted side by side. The
standardisation is folded into the weights.

The prior variance of each weight (scikit-learn's `C`, one over the penalty) is one over
the number of features, so that the log odds of a standardised image have a prior
variance of 1 however many features there are. With scikit-learn's default of 1 it would
be their number, and a few minority images are learnt by heart.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.preprocessing import StandardScaler

from egan_jax import logistic_regression, scorers
from egan_jax.scorers import Scorer

NUM_NEIGHBORS = 5  # of SMOTE's paper


@dataclasses.dataclass(frozen=True)
class Standardised:
  """The majority in its own standard deviations.

  Attributes:
    scaler: what makes it so.
    majority: float64 `[M, C]`.
  """

  scaler: StandardScaler
  majority: np.ndarray

  def transform(self, minority: np.ndarray) -> np.ndarray:
    """Features `[D, n, C]` in the same standard deviations."""
    flat = np.reshape(minority, (-1, self.majority.shape[1]))
    return self.scaler.transform(flat).reshape(minority.shape)


def standardise(majority: np.ndarray) -> Standardised:
  """What the regressions know of majority features `[M, C]`."""
  scaler = StandardScaler().fit(majority)
  return Standardised(scaler, scaler.transform(majority))


def logistic_balanced(
  known: Standardised,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  """Each class counts half, however few its images (King & Zeng 2001).

  "Logistic regression in rare events data", weighting; scikit-learn's
  `class_weight='balanced'`.
  """
  del seeds, training
  return _regress(known, known.transform(minority), balanced=True)


def logistic_logit_adjusted(
  known: Standardised,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  """Every image counts the same, and the log odds of the class sizes are taken off.

  Menon et al., "Long-tail learning via logit adjustment", 2021. Their adjusted loss
  and the adjustment afterwards are one and the same here, where the intercept is
  free and not penalised.
  """
  del seeds, training
  log_odds = np.log(len(known.majority) / minority.shape[1])
  return _regress(
    known, known.transform(minority), balanced=False, adjustment=-log_odds
  )


def smote_logistic(
  known: Standardised,
  minority: np.ndarray,
  seeds: Sequence[int],
  training: Any = None,
) -> list[Scorer]:
  """Minority images interpolated until the classes are equal, then regression.

  Chawla et al., "SMOTE: Synthetic minority over-sampling technique", 2002, between
  each image and its 5 nearest of the minority; fewer if there are not that many.
  """
  del training
  num_minority = minority.shape[1]
  num_neighbors = min(NUM_NEIGHBORS, num_minority - 1)
  note = ''
  if num_neighbors == 0:
    note = 'SMOTE needs two minority images to interpolate: the one is repeated'
  elif num_neighbors < NUM_NEIGHBORS:
    note = (
      f'SMOTE with {num_neighbors} neighbours: there are {num_minority} minority images'
    )
  over_sampled = [
    _over_sample(known.majority, of_draw, num_neighbors, seed)
    for of_draw, seed in zip(known.transform(minority), seeds, strict=True)
  ]
  return _regress(known, np.stack(over_sampled), balanced=False, note=note)


def _over_sample(
  majority: np.ndarray, minority: np.ndarray, num_neighbors: int, seed: int
) -> np.ndarray:
  """Minority features `[max(M, n), C]`: those given, then what was made of them."""
  wanted = {'sampling_strategy': {False: max(len(majority), len(minority))}}
  if num_neighbors == 0:
    sampler = RandomOverSampler(random_state=seed, **wanted)
  else:
    sampler = SMOTE(k_neighbors=num_neighbors, random_state=seed, **wanted)
  features = np.concatenate([majority, minority])
  is_majority = np.arange(len(features)) < len(majority)
  features, is_majority = sampler.fit_resample(features, is_majority)
  return features[~is_majority]


def _regress(
  known: Standardised,
  minority: np.ndarray,
  balanced: bool,
  adjustment: float = 0.0,
  note: str = '',
) -> list[Scorer]:
  """Fits the majority to each of `[D, n, C]`, which are standardised.

  `adjustment` is added to the log odds for the majority.
  """
  lines = logistic_regression.fit(
    np.asarray(known.majority, np.float32),
    np.ones((1, len(known.majority)), bool),
    np.asarray(minority, np.float32),
    penalty=float(minority.shape[2]),
    balanced=balanced,
  )
  return [
    scorers.make(
      {
        'centre': known.scaler.mean_,
        'weights': weights / known.scaler.scale_,
        'offset': offset + adjustment,
      },
      'linear',
      note,
    )
    for weights, offset in zip(lines.weights[0], lines.offset[0], strict=True)
  ]
