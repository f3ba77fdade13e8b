"""Padded batches hold every image once, and read no more than a batch at a time."""

import numpy as np
import pytest

from egan_jax.data.batches import bound_batch_size, padded_batches


class _OnDisk:
  """Images that can only be sliced, and note how."""

  def __init__(self, images):
    self._images = images
    self.shape = images.shape
    self.dtype = images.dtype
    self.reads = []

  def __getitem__(self, indices):
    self.reads.append(indices)
    return self._images[indices]


@pytest.mark.parametrize('number', [0, 1, 3, 4, 8, 9])
def test_every_image_once_and_one_shape(number):
  rng = np.random.default_rng(0)
  images = rng.integers(1, 256, (number, 5, 6, 3), np.uint8)
  on_disk = _OnDisk(images)
  batches = list(padded_batches(on_disk, 4))
  assert all(batch.shape == (4, 5, 6, 3) for batch, _ in batches)
  assert all(not batch[count:].any() for batch, count in batches)
  whole = [image for batch, count in batches for image in batch[:count]]
  assert sum(count for _, count in batches) == len(whole) == number
  np.testing.assert_array_equal(np.array(whole).reshape(images.shape), images)
  assert on_disk.reads == [slice(start, start + 4) for start in range(0, number, 4)]


@pytest.mark.parametrize('image_size', [1, 32, 96, 224, 500, 1024, 5000])
def test_large_images_make_small_batches(image_size):
  size = bound_batch_size(64, image_size)
  assert size == 64 or size == 1 or size * image_size**2 <= 2**22
  assert (size == 64) == (image_size <= 224)
