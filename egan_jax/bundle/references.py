"""Training images that a model keeps to be compared with: features and thumbnails."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from egan_jax.data.batches import Images

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


def make(
  compute_features: Callable[[np.ndarray], np.ndarray],
  minority: Images,
  majority: Images,
  minority_names: Sequence[str],
  majority_names: Sequence[str],
) -> References:
  """References of all minority and at most 1,000 majority images, evenly spaced.

  Args:
    compute_features: from uint8 `[N, H, W, 3]` to float `[N, C]`, such as
      `predictor.Predictor.features`.
    minority: uint8 `[n, H, W, 3]`.
    majority: uint8 `[M, H, W, 3]`, of which single images are read.
    minority_names: of the n images.
    majority_names: of the M images.
  """
  num_majority = majority.shape[0]
  kept = np.linspace(0, num_majority - 1, min(num_majority, MAX_MAJORITY), dtype=int)
  classes = [
    np.asarray(minority[0 : minority.shape[0]]),
    np.stack([majority[i : i + 1][0] for i in kept]),
  ]
  return References(
    features=np.concatenate(
      [np.asarray(compute_features(images), np.float32) for images in classes]
    ),
    is_minority=np.repeat([True, False], [len(images) for images in classes]),
    names=(*minority_names, *(majority_names[i] for i in kept)),
    thumbnails=np.concatenate([_shrink(images) for images in classes]),
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
