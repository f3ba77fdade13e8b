"""Training images that a model keeps to be compared with: features and thumbnails."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from PIL import Image

MAX_MAJORITY = 1000
THUMBNAIL_SIZE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class References:
  """R training images.

  Attributes:
    features: float32 `[R, C]`, as `Bundle.features` makes them.
    is_minority: bool `[R]`.
    names: of each image, its path in the data set, or whatever tells it apart.
    thumbnails: uint8 `[R, 64, 64, 3]`.
  """

  features: np.ndarray
  is_minority: np.ndarray
  names: tuple[str, ...]
  thumbnails: np.ndarray


def choose_majority(num_majority: int) -> np.ndarray:
  """Positions of the majority images to keep: at most 1,000, evenly spaced."""
  return np.linspace(0, num_majority - 1, min(num_majority, MAX_MAJORITY), dtype=int)


def make(
  features: np.ndarray,
  images: np.ndarray,
  is_minority: np.ndarray,
  names: Iterable[str],
) -> References:
  """References of R images uint8 `[R, H, W, 3]`; otherwise as in `References`."""
  return References(
    features=np.asarray(features, np.float32),
    is_minority=is_minority,
    names=tuple(names),
    thumbnails=_shrink(images),
  )


def _shrink(images: np.ndarray) -> np.ndarray:
  """Thumbnails uint8 `[N, 64, 64, 3]` of images uint8 `[N, H, W, 3]`, squashed."""
  size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
  return np.stack(
    [
      np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
      for image in images
    ]
  )
