"""Training images kept from a fit, so that a threshold can be chosen on them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from egan_jax.errors import UserError
from egan_jax.evaluation.thresholds import count_needed_for_specificity
from egan_jax.rivals.rival import Rival


def split_majority(
  num_majority: int, specificity: float, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Which majority images are fitted on and which are held out.

  One split and one fit, where the guarantee of `thresholds.target_specificity`
  holds as it is written. Scores from several fits crosswise would spare a fifth of
  the images, of which there are many, and keep the guarantee only roughly.

  Args:
    num_majority: how many there are.
    specificity: to be asked of the held-out scores.
    share: to hold out, in (0, 1); more where the specificity takes more.
    seed: of the split.

  Returns:
    Positions to fit on and to hold out, sorted.

  Raises:
    UserError: fewer would be left than are held out.
  """
  needed = count_needed_for_specificity(specificity)
  held_out = max(int(np.ceil(share * num_majority)), needed)
  if 2 * held_out > num_majority:
    raise UserError(
      f'{num_majority} majority images are too few to hold out the {needed} that a'
      f' specificity of {specificity} takes and fit on as many; use at least'
      f' {2 * needed}'
    )
  order = np.random.default_rng(seed).permutation(num_majority)
  return np.sort(order[held_out:]), np.sort(order[:held_out])


def leave_one_out_scores(
  rival: Rival, majority: Any, minority: Any, seed: int = 0, training: Any = None
) -> np.ndarray:
  """Scores `[n]` of minority images, each by a fit on all the others.

  For `thresholds.target_sensitivity` and `calibration.fit`. It takes n more fits.

  Args:
    rival: what to fit.
    majority: what it reads of the majority images fitted on, `[M, ...]`.
    minority: of the n minority images, `[n, ...]`.
    seed: of every fit.
    training: of `Rival.fit`.

  Raises:
    UserError: there is a single minority image: without it nothing is left to fit.
  """
  n = jax.tree.leaves(minority)[0].shape[0]
  if n < 2:
    raise UserError(
      'with a single minority image none is left to fit on when it is left out, so'
      ' nothing can be said about sensitivity or P(minority); two are needed'
    )
  others = np.array([np.delete(np.arange(n), left_out) for left_out in range(n)])
  scorers: Sequence = rival.fit_draws(
    majority, jax.tree.map(lambda a: a[others], minority), (seed,) * n, training
  )
  return np.array(
    [
      scorer.scores(jax.tree.map(lambda a, i=i: a[i : i + 1], minority))[0]
      for i, scorer in enumerate(scorers)
    ]
  )
