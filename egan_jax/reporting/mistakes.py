"""The test images a method gets wrong and is surest of."""

from collections.abc import Sequence

import numpy as np


def find(
  scores: np.ndarray,
  is_minority: np.ndarray,
  threshold: float,
  images: np.ndarray,
  names: Sequence[str],
  limit: int = 12,
) -> list[dict]:
  """The mistakes farthest from the threshold, as many of each class as there are.

  Args:
    scores: `[T]` of one fold.
    is_minority: bool `[T]`.
    threshold: a score below it means minority.
    images: uint8 `[T, H, W, 3]`, an array or its like on disk.
    names: `[T]`, such as paths.
    limit: how many at most; half of them of each class where there are so many.

  Returns:
    Dicts of `image` uint8 `[H, W, 3]`, `name`, `truth` ('minority' or 'majority') and
    `score`: missed minority images first, the farthest from the threshold first.
  """
  scores, is_minority = np.asarray(scores), np.asarray(is_minority, bool)
  wrong = (scores < threshold) != is_minority
  # By the scores and not their distance from a threshold, which may be infinite.
  from_lowest = np.argsort(scores, kind='stable')
  missed = [i for i in from_lowest[::-1] if wrong[i] and is_minority[i]]
  false_alarms = [i for i in from_lowest if wrong[i] and not is_minority[i]]
  of_missed = min(len(missed), max(limit - limit // 2, limit - len(false_alarms)))
  chosen = missed[:of_missed] + false_alarms[: limit - of_missed]
  return [
    {
      'image': np.asarray(images[index]),
      'name': names[index],
      'truth': 'minority' if is_minority[index] else 'majority',
      'score': float(scores[index]),
    }
    for index in chosen
  ]
