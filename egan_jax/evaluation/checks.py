"""What scores, shares and levels must be, said once."""

import numpy as np

from egan_jax.errors import UserError


def check_share(name: str, value: float) -> None:
  """Raises `UserError` unless a prior, level or confidence is in (0, 1)."""
  if not 0 < value < 1:
    raise UserError(f'{name}={value}: it must be greater than 0 and less than 1')


def check_held_out_scores(name: str, scores: np.ndarray) -> np.ndarray:
  """Scores `[N]` of the images of one class as an array of their own dtype.

  Raises:
    ValueError: they are not `[N]`, or not finite.
    UserError: there are none.
  """
  scores = np.asarray(scores)
  if scores.ndim != 1 or not np.isfinite(scores).all():
    raise ValueError(f'{name} scores {scores.shape} must be [N] and finite')
  if not len(scores):
    raise UserError(
      f'there is no held-out {name} score: at least two {name} images are needed, one'
      ' to train on and one to score'
    )
  return scores
