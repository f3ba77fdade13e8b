"""What a rival is: a fit on training images that returns a `Scorer`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from egan_jax.errors import UserError
from egan_jax.scorers import FEATURES, Scorer


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
    fit_draws: fits every draw: `(known, minority [D, n, ...], seeds [D], training)` to D
      scorers; `training` is a `head.HeadTraining`, which only those that read BOUNDARY
      look at.
    measure: from majority images `[M, ...]` to what is `known` before a minority image
      is seen, measured once for all draws.
    looks_at_minority: whether the fit does.
    always_at_zero: whether its threshold is 0 whatever rule is asked for.
  """

  name: str
  reads: str
  decides_at_zero: bool
  from_one_image: str
  fit_draws: Callable[..., list[Scorer]]
  measure: Callable[[Any], Any] = lambda majority: majority
  looks_at_minority: bool = True
  always_at_zero: bool = False

  def fit(
    self, majority: Any, minority: Any, seed: int = 0, training: Any = None
  ) -> Scorer:
    """Fits one draw: M majority and n minority images, read as `reads` says."""
    draws = jax.tree.map(lambda a: a[None], minority)
    (scorer,) = self.fit_draws(self.measure(majority), draws, (seed,), training)
    return scorer

  def score(self, scorer: Scorer, images: Any) -> np.ndarray:
    """Scores `[N]`; `UserError` if one is not finite."""
    scores = scorer.scores(images)
    if not np.isfinite(scores).all():
      way_out = 'try a lower learning_rate'
      if self.reads == FEATURES:
        way_out = 'features must not be too large or small for float32'
      raise UserError(f'scores of the rival {self.name!r} are not finite: {way_out}')
    return scores


def fit_each(fit: Callable[[Any, np.ndarray, int], Scorer]):
  """The `fit_draws` of a rival on features that fits one draw after the other."""

  def fit_draws(known, minority, seeds: Sequence[int], training=None):
    del training
    minority = np.asarray(minority, np.float64)
    return [fit(known, *draw) for draw in zip(minority, seeds, strict=True)]

  return fit_draws


def repeat(known: Scorer, minority: Any, seeds: Sequence[int], training=None):
  """The `fit_draws` of a rival whose scorer is all that it knows of the majority."""
  del minority, training
  return [known] * len(seeds)
