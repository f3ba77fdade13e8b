"""The images of a two-class problem, as arrays."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

_HASHED_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class TwoClasses:
  """Training and test images of a minority and a majority class.

  The arrays of a folder larger than memory allows are mapped from a file.

  Attributes:
    minority: all training images of the minority, uint8 `[N, H, W, 3]`.
    majority: all training images of the majority, uint8 `[N, H, W, 3]`.
    minority_indices: int `[N]`, where each stands in the data set's train split.
    majority_indices: int `[N]`, likewise.
    test: test images of both classes, uint8 `[T, H, W, 3]`. T may be 0 for a folder.
    test_is_minority: bool `[T]`.
    test_indices: int `[T]`, where each stands in the data set's test split; in its
      train split if the test images were held out of that.
    minority_class: its name.
    majority_class: its name.
    minority_paths: `[N]` of files, as the data set names them; empty if the images are
      of no files.
    majority_paths: likewise.
    test_paths: likewise, `[T]`.
    report: of the files, as of `data_report.make`; None if there are none.
  """

  minority: np.ndarray
  majority: np.ndarray
  minority_indices: np.ndarray
  majority_indices: np.ndarray
  test: np.ndarray
  test_is_minority: np.ndarray
  test_indices: np.ndarray
  minority_class: str
  majority_class: str
  minority_paths: tuple[str, ...] = ()
  majority_paths: tuple[str, ...] = ()
  test_paths: tuple[str, ...] = ()
  report: dict[str, Any] | None = None

  @property
  def missing_from_test(self) -> tuple[str, ...]:
    """Names of classes without test images: metrics of both need none to be missing."""
    missing = []
    if not self.test_is_minority.any():
      missing.append(self.minority_class)
    if self.test_is_minority.all():  # of an empty test set, too
      missing.append(self.majority_class)
    return tuple(missing)

  def fingerprint(self) -> str:
    """SHA-256 of labels and pixels, of which some images at a time are in memory."""
    digest = hashlib.sha256(np.packbits(self.test_is_minority))
    digest.update(repr((len(self.minority), len(self.majority))).encode())
    for images in (self.minority, self.majority, self.test):
      for start in range(0, len(images), _HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(images[start : start + _HASHED_AT_ONCE]))
    return digest.hexdigest()


def take(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
  """The images at ascending positions; all of them without a copy.

  Images on disk stay there, however many they are, as long as all are asked for.
  """
  return images if len(positions) == len(images) else images[positions]
