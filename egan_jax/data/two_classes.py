"""The images of a two-class problem, as arrays."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class TwoClasses:
  """Training and test images of a minority and a majority class.

  Attributes:
    minority: all training images of the minority, uint8 `[N, H, W, 3]`.
    majority: all training images of the majority, uint8 `[N, H, W, 3]`.
    minority_indices: int `[N]`, where each stands in the data set's train split.
    majority_indices: int `[N]`, likewise.
    test: test images of both classes, uint8 `[T, H, W, 3]`.
    test_is_minority: bool `[T]`.
    test_indices: int `[T]`, where each stands in the data set's test split.
  """

  minority: np.ndarray
  majority: np.ndarray
  minority_indices: np.ndarray
  majority_indices: np.ndarray
  test: np.ndarray
  test_is_minority: np.ndarray
  test_indices: np.ndarray
