"""What scores, shares, counts and rates must be, said once."""

import numpy as np

from egan_jax.errors import UserError


def check_share(name: str, value: float) -> None:
  """Raises `UserError` unless a prior, level or confidence is in (0, 1)."""
  if not 0 < value < 1:
    raise UserError(f'{name}={value}: it must be greater than 0 and less than 1')


def check_cost(name: str, cost: float) -> None:
  """Raises `UserError` unless the cost of a mistake is positive and finite."""
  if not 0 < cost < np.inf:
    raise UserError(f'{name}={cost}: it must be positive and finite')


def check_count(name: str, value: int) -> None:
  """Raises `UserError` unless there is at least one."""
  if value < 1:
    raise UserError(f'{name}={value}: it must be at least 1')


def check_learning_rate(name: str, value: float) -> None:
  """Raises `UserError` unless it is positive and finite."""
  if not 0 < value < np.inf:
    raise UserError(f'{name} must be positive and finite')


def check_dropout_rate(name: str, value: float) -> None:
  """Raises `UserError` unless it is in [0, 1)."""
  if not 0 <= value < 1:
    raise UserError(f'{name} must be in [0, 1)')


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
