"""Decoded images in one array, in memory or on disk."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from egan_jax.data.available_memory import available_memory
from egan_jax.errors import UserError

# Of available memory that one array of images may take; more goes to a file.
_MEMORY_SHARE = 0.25


def keep(images: Iterable[np.ndarray], count: int, image_size: int) -> np.ndarray:
  """Puts images into one array.

  Args:
    images: uint8 `[S, S, 3]` each, at most `count`.
    count: bounds what they take.
    image_size: S.

  Returns:
    uint8 `[N, S, S, 3]`, N being how many came: in memory, or, when `count` of them
    exceed a share of what is available, mapped read-only from a temporary file that
    has no name and is gone when the process is.

  Raises:
    UserError: the disk of temporary files is full.
  """
  shape = (image_size, image_size, 3)
  if count * image_size**2 * 3 <= _MEMORY_SHARE * available_memory():
    array = np.empty((count, *shape), np.uint8)
    total = 0
    for total, image in enumerate(images, start=1):
      array[total - 1] = image
    return array[:total]
  with _explain_full_disk():
    # Unbuffered: nothing is left for closing, where a full disk would show again.
    file = tempfile.TemporaryFile(buffering=0)
  with file:
    total = 0
    for image in images:
      total += 1
      remaining = memoryview(image.tobytes())
      with _explain_full_disk():
        while remaining:
          remaining = remaining[file.write(remaining) :]
    # A map of nothing cannot be made.
    return np.asarray(
      np.memmap(file, np.uint8, mode='r', shape=(total, *shape))
      if total
      else np.empty((0, *shape), np.uint8)
    )


@contextlib.contextmanager
def _explain_full_disk() -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise UserError(
      f'decoded images cannot be kept in {tempfile.gettempdir()} ({error.strerror}):'
      ' free some space there, set TMPDIR to a folder on another disk, or lower'
      ' image_size'
    ) from error
