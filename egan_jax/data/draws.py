"""Which training images a run uses: seeded draws, the minority in folds."""

import dataclasses
from collections.abc import Callable

import numpy as np

from egan_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Draws:
  """Positions among the training images of each class.

  Attributes:
    minority: int `[num_folds, num_minority]`; the rows of one seed are disjoint.
    majority: int `[num_majority]`, the same for every fold.
  """

  minority: np.ndarray
  majority: np.ndarray


def draw(
  seed: int,
  num_folds: int,
  num_minority: int,
  num_majority: int,
  minority_available: int,
  majority_available: int,
) -> Draws:
  """Draws disjoint minority folds and a majority subset (paper section 4.1).

  Raises:
    UserError: more images are asked for than exist, or the folds would overlap.
  """
  if num_minority > minority_available:
    raise UserError(
      f'num_minority={num_minority} but the minority class has only'
      f' {minority_available} training images'
    )
  if num_folds * num_minority > minority_available:
    raise UserError(
      f'{num_folds} folds of {num_minority} minority images would overlap: the class'
      f' has only {minority_available}; lower num_folds or num_minority'
    )
  if num_majority > majority_available:
    raise UserError(
      f'num_majority={num_majority} but the majority class has only'
      f' {majority_available} training images'
    )
  # Separate streams: changing one class's size leaves the other's draw alone.
  minority_stream, majority_stream = np.random.SeedSequence(seed).spawn(2)
  minority = np.random.default_rng(minority_stream).permutation(minority_available)
  majority = np.random.default_rng(majority_stream).permutation(majority_available)
  return Draws(
    minority=minority[: num_folds * num_minority].reshape(num_folds, num_minority),
    majority=np.sort(majority[:num_majority]),
  )


def repeat_with_seeds(draw_one: Callable[[int], Draws], seed: int, num: int) -> Draws:
  """The minority folds of `num` seeds from `seed` on, and the first one's majority.

  The majority is shared, because all folds read the same activations of it.
  """
  drawn = [draw_one(seed + i) for i in range(num)]
  return Draws(np.concatenate([d.minority for d in drawn]), drawn[0].majority)
