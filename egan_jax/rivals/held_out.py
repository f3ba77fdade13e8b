"""Scores of training images by fits that did not see them, to choose a threshold."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from sklearn.model_selection import KFold

from egan_jax.errors import UserError
from egan_jax.evaluation.thresholds import count_needed_for_specificity
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import Scorer
from egan_jax.steps import count_images

NUM_FOLDS = 5  # of the majority


@dataclasses.dataclass(frozen=True)
class Fit:
  """Scorers of each draw, and majority scores by fits without these images.

  Attributes:
    scorers: `[D]`.
    known: what the scorers were fitted on, as of `Rival.measure`.
    scores: `[D, m]`, or None.
    num_folds: of how many fits the scores are; None for the scorers themselves.
    missing: why there are no scores, if there are none.
  """

  scorers: list[Scorer]
  known: Any
  scores: np.ndarray | None
  num_folds: int | None = None
  missing: str = ''


def fit_crosswise(
  rival: Rival,
  majority: np.ndarray,
  minority: np.ndarray,
  seeds: Sequence[int],
  split_seed: int,
) -> Fit:
  """Fits all images, and scores each of the majority by a fit without its fold.

  For methods that are fitted quickly; arguments as of `out_of_fold_scores`.
  """
  known = rival.measure(majority)
  scorers = rival.fit_draws(known, minority, seeds)
  num_folds = min(NUM_FOLDS, len(majority))
  if num_folds < 2:
    missing = 'a single majority image leaves none to choose a threshold on'
    return Fit(scorers, known, None, missing=missing)
  folds = rival, majority, minority, seeds, num_folds, split_seed
  scores, notes = out_of_fold_scores(*folds)
  if notes != {scorer.note for scorer in scorers}:
    missing = (
      f'{len(majority)} majority images are too few to leave some out: fits without'
      f' them score in other units ({"; ".join(filter(None, notes))})'
    )
    return Fit(scorers, known, None, missing=missing)
  return Fit(scorers, known, scores, num_folds)


def fit_and_hold_out(
  rival: Rival,
  majority: Any,
  minority: Any,
  seeds: Sequence[int],
  training: Any,
  specificity: float,
  share: float,
  split_seed: int,
) -> Fit:
  """Fits once, on all but a share of the majority, and scores that.

  Arguments as of `Rival.fit_draws` and `split_majority`.
  """
  number = count_images(majority)
  *split, missing = split_majority(number, specificity, share, split_seed)
  fitted, kept = (jax.tree.map(lambda a, i=i: a[i], majority) for i in split)
  known = rival.measure(fitted)
  scorers = rival.fit_draws(known, minority, seeds, training)
  if missing:
    return Fit(scorers, known, None, missing=missing)
  scores = np.stack([rival.score(scorer, kept) for scorer in scorers])
  return Fit(scorers, known, scores)


def split_majority(
  num_majority: int, specificity: float, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
  """Which majority images are fitted on and which are held out.

  One split and one fit: for methods that take long to fit. The guarantee of
  `thresholds.target_specificity` holds as it is written.

  Args:
    num_majority: how many there are.
    specificity: to be asked of the held-out scores.
    share: to hold out, in (0, 1); more where the specificity takes more.
    seed: of the split.

  Returns:
    Positions to fit on and to hold out, sorted, and why there are none to hold out:
    fewer would be left than are held out.
  """
  needed = count_needed_for_specificity(specificity)
  held_out = max(int(np.ceil(share * num_majority)), needed)
  if 2 * held_out > num_majority:
    kept = f'the {needed} that a specificity of {specificity} takes'
    way_out = f'use at least {2 * needed}'
    if 2 * needed <= num_majority:
      kept, way_out = f'{held_out} of them', f'choose held_out_share below {share}'
    missing = (
      f'{num_majority} majority images are too few to hold out {kept} and fit on as'
      f' many; {way_out}'
    )
    return np.arange(num_majority), np.arange(0), missing
  order = np.random.default_rng(seed).permutation(num_majority)
  return np.sort(order[held_out:]), np.sort(order[:held_out]), ''


def out_of_fold_scores(
  rival: Rival,
  majority: np.ndarray,
  minority: np.ndarray,
  seeds: Sequence[int],
  num_folds: int,
  split_seed: int,
) -> tuple[np.ndarray, set[str]]:
  """Scores `[D, M]` of majority images, each by a fit without the fold it is in.

  For methods that are fitted quickly. Each fold takes a fit per draw, or one for all
  where the minority is not looked at.

  Args:
    rival: what to fit; it reads FEATURES.
    majority: features `[M, C]`.
    minority: of each draw's minority images, `[D, n, C]`.
    seeds: of each draw's fits, `[D]`.
    num_folds: how many, from 2 to M.
    split_seed: of the folds, the same for all draws.

  Returns:
    The scores, and the notes of the fits that made them.
  """
  scores = np.empty((len(seeds), len(majority)), np.float32)
  notes = set()
  folds = KFold(num_folds, shuffle=True, random_state=split_seed)
  for fitted, kept in folds.split(majority):
    fits = rival.fit_draws(rival.measure(majority[fitted]), minority, seeds)
    notes |= {fit.note for fit in fits}
    for draw, scorer in enumerate(fits):
      if draw and scorer is fits[0]:
        scores[draw, kept] = scores[0, kept]
      else:
        scores[draw, kept] = rival.score(scorer, majority[kept])
  return scores, notes


def left_out_scores(
  rival: Rival,
  known: Any,
  minority: Any,
  seed: int = 0,
  training: Any = None,
  num_folds: int | None = None,
) -> np.ndarray:
  """Scores `[n]` of minority images, each by a fit without it.

  For `thresholds.target_sensitivity` and `calibration.fit`.

  Args:
    rival: what to fit.
    known: of the majority images fitted on, as of `Rival.measure`.
    minority: what it reads of the n minority images, `[n, ...]`.
    seed: of every fit.
    training: of `Rival.fit_draws`.
    num_folds: at most so many fits, each without an equal share of the minority;
      by default each leaves out one image.

  Raises:
    UserError: there is a single minority image, and without it nothing to fit to.
  """
  n = count_images(minority)
  if not rival.looks_at_minority:
    (scorer,) = rival.fit_draws(known, minority, (seed,), training)
    return rival.score(scorer, minority)
  if n < 2:
    raise UserError(
      'with a single minority image none is left to fit on when it is left out, so'
      ' nothing can be said about sensitivity or P(minority); two are needed'
    )
  num_folds = min(n, num_folds or n)
  scores = np.empty(n, np.float32)
  folds = np.array_split(np.random.default_rng(seed).permutation(n), num_folds)
  # Fits side by side need the same number of images.
  for size in {len(fold) for fold in folds}:
    alike = [fold for fold in folds if len(fold) == size]
    others = np.array([np.delete(np.arange(n), fold) for fold in alike])
    fits = rival.fit_draws(
      known,
      jax.tree.map(lambda a, others=others: a[others], minority),
      (seed,) * len(alike),
      training,
    )
    for fold, scorer in zip(alike, fits, strict=True):
      of_fold = jax.tree.map(lambda a, fold=fold: a[fold], minority)
      scores[fold] = rival.score(scorer, of_fold)
  return scores
