"""Operations whose details are easy to get wrong, against Keras's layers."""

import keras
import numpy as np
import pytest
from keras.src.applications import imagenet_utils

from egan_jax.backbones import ops


def _images(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('height, width', [(4, 4), (5, 7), (2, 3)])
def test_average_pool(height, width):
  x = _images(2, height, width, 3)
  np.testing.assert_allclose(
    ops.average_pool(x, size=2), keras.layers.AveragePooling2D(2)(x), atol=1e-6
  )


def test_max_pool_of_padded_negatives():
  x = -1 - np.abs(_images(2, 7, 7, 3))
  np.testing.assert_array_equal(
    ops.max_pool(x, size=3, strides=2), keras.layers.MaxPooling2D(3, strides=2)(x)
  )


@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('height, width', [(8, 8), (7, 9), (6, 5), (2, 2), (1, 1)])
def test_same_padding_is_correct_pad(height, width, size):
  x = _images(2, height, width, 3)
  (top, bottom), (left, right) = imagenet_utils.correct_pad(x, size)
  expected = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
  np.testing.assert_array_equal(ops.same_padding(x, size=size, strides=2), expected)
