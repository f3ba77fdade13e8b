"""What a rival is: a fit on training images, and a scorer that comes of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from egan_jax.evaluation import thresholds
from egan_jax.evaluation.thresholds import Threshold

FEATURES = 'features'
BOUNDARY = 'boundary'


@dataclasses.dataclass(frozen=True)
class Scorer:
  """A fitted rival.

  Attributes:
    scores: from inputs of N images, such as it was fitted on, to `[N]` float; the
      higher, the more like the majority.
    note: what the fit did otherwise than the rival's name says, and why; else ''.
  """

  scores: Callable[[Any], np.ndarray]
  note: str = ''


@dataclasses.dataclass(frozen=True)
class Rival:
  """A way to tell the classes apart from the same images as eGAN.

  Attributes:
    name: its name in `rivals.names`.
    reads: what images come as: FEATURES, pooled features of the whole backbone
      float `[N, C]`, or BOUNDARY, boundary activations `[N, h, w, c]` by layer name.
    decides_at_zero: whether score < 0 is its own decision for the minority, made by
      the fit; if not, 0 means nothing and only a threshold decides.
    from_one_image: what it does with a single minority image.
    fit_draws: fits every draw: `(majority [M, ...], minority [D, n, ...], seeds [D],
      training)` to D scorers; `training` is a `head.HeadTraining`, which only those
      that read BOUNDARY look at.
    choose_threshold: from held-out majority scores and a specificity.
  """

  name: str
  reads: str
  decides_at_zero: bool
  from_one_image: str
  fit_draws: Callable[..., list[Scorer]]
  choose_threshold: Callable[[np.ndarray, float], Threshold] = (
    thresholds.target_specificity
  )

  def fit(
    self, majority: Any, minority: Any, seed: int = 0, training: Any = None
  ) -> Scorer:
    """Fits one draw: M majority and n minority images, read as `reads` says."""
    (scorer,) = self.fit_draws(
      majority, jax.tree.map(lambda a: a[None], minority), (seed,), training
    )
    return scorer


def fit_each(fit: Callable[[np.ndarray, np.ndarray, int], Scorer]):
  """The `fit_draws` of a rival on features: one fit after the other."""

  def fit_draws(majority, minority, seeds: Sequence[int], training=None):
    del training
    majority, minority = (
      np.asarray(features, np.float64) for features in (majority, minority)
    )
    return [fit(majority, *draw) for draw in zip(minority, seeds, strict=True)]

  return fit_draws


def fit_once(fit: Callable[[np.ndarray], Scorer]):
  """The `fit_draws` of a rival on features that sees the majority only: one fit."""

  def fit_draws(majority, minority, seeds: Sequence[int], training=None):
    del minority, training
    return [fit(np.asarray(majority, np.float64))] * len(seeds)

  return fit_draws
