"""Images read a batch at a time, wherever they are."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from egan_jax.checks import check_count
from egan_jax.errors import UserError

_MAX_PIXELS = 2**22  # 83 images of 224 px


class Images(Protocol):
  """What is asked of images: a uint8 array `[N, H, W, 3]` or its like on disk."""

  shape: tuple[int, ...]
  dtype: np.dtype

  def __getitem__(self, indices: slice) -> np.ndarray: ...


def check_images(images: Images) -> None:
  """Raises `UserError` for what is not uint8 `[N, H, W, 3]`."""
  shape = images.shape
  if images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape[1:]:
    raise UserError(
      f'images are {images.dtype} {list(shape)}: uint8 [N, H, W, 3] is needed'
    )


def choose_side(images: Images, image_size: int | None) -> int:
  """The side of squares that is asked for, or that of the images.

  Raises:
    UserError: it is below 1, or not asked for and the images are not square.
  """
  if image_size is not None:
    check_count('image_size', image_size)
    return image_size
  height, width = images.shape[1:3]
  if height != width:
    raise UserError(
      f'images of {height} by {width} pixels are not square: set image_size'
    )
  return height


def bound_batch_size(
  batch_size: int, image_size: int, max_pixels: int = _MAX_PIXELS
) -> int:
  """As many images, or fewer large ones: a network's maps grow with their pixels."""
  return min(batch_size, max(1, max_pixels // image_size**2))


def padded_batches(images: Images, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Batches of one shape, so that what takes them compiles once.

  Args:
    images: uint8 `[N, H, W, 3]`, of which a slice at a time is read.
    batch_size: images per batch.

  Yields:
    uint8 `[batch_size, H, W, 3]`, the last batch padded with zeros, and how many of
    them are images.
  """
  for start in range(0, images.shape[0], batch_size):
    batch = images[start : start + batch_size]
    missing = batch_size - len(batch)
    yield np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0))), len(batch)
