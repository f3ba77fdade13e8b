"""Operations whose details are easy to get wrong, against Keras's layers."""

import keras
import numpy as np
import pytest

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
