"""What a rival is: a fit on training images that returns a `Scorer`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from egan_jax.errors import UserError
from egan_jax.scorers import Scorer


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
    looks_at_minority: whether the fit does.
    always_at_zero: whether its threshold is 0 whatever rule is asked for.
  """

  name: str
  reads: str
  decides_at_zero: bool
  from_one_image: str
  fit_draws: Callable[..., list[Scorer]]
  looks_at_minority: bool = True
  always_at_zero: bool = False

  def fit(
    self, majority: Any, minority: Any, seed: int = 0, training: Any = None
  ) -> Scorer:
    """Fits one draw: M majority and n minority images, read as `reads` says."""
    (scorer,) = self.fit_draws(
      majority, jax.tree.map(lambda a: a[None], minority), (seed,), training
    )
    return scorer

  def score(self, scorer: Scorer, images: Any) -> np.ndarray:
    """Scores `[N]`; `UserError` if one is not finite."""
    scores = scorer.scores(images)
    if not np.isfinite(scores).all():
      raise UserError(
        f'scores of the rival {self.name!r} are not finite; try a lower learning_rate'
      )
    return scores


def fit_each(fit: Callable[..., Scorer], prepare: Callable | None = None):
  """The `fit_draws` of a rival on features: one fit after the other.

  Args:
    fit: `(majority, minority, seed)` to a scorer, and after these what `prepare`
      made.
    prepare: what all fits on the same majority images share, made once of them.
  """

  def fit_draws(majority, minority, seeds: Sequence[int], training=None):
    del training
    majority, minority = (
      np.asarray(features, np.float64) for features in (majority, minority)
    )
    shared = () if prepare is None else (prepare(majority),)
    draws = zip(minority, seeds, strict=True)
    return [fit(majority, of_draw, seed, *shared) for of_draw, seed in draws]

  return fit_draws


def fit_once(fit: Callable[[np.ndarray], Scorer]):
  """The `fit_draws` of a rival on features that sees the majority only: one fit."""

  def fit_draws(majority, minority, seeds: Sequence[int], training=None):
    del minority, training
    return [fit(np.asarray(majority, np.float64))] * len(seeds)

  return fit_draws
