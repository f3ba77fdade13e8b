"""The corners of an image, and the ways to use what is seen in them."""

import numpy as np

from experiments.few_images import crops


def test_corners_are_those_of_the_image():
  image = np.arange(10 * 20).reshape(1, 10, 20, 1)
  corners = crops.crop_corners(image)
  assert corners.shape == (4, 1, 8, 16, 1)
  assert [corners[0].flat[0], corners[1][0, 0, -1, 0]] == [0, 19]
  assert [corners[2][0, -1, 0, 0], corners[3].flat[-1]] == [180, 199]


def test_ways_of_use():
  features = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
  ways = crops.use(features)
  np.testing.assert_array_equal(ways['without'], features[:, :, 0])
  np.testing.assert_allclose(ways['averaged'][1, 2], features[1, 2].mean(axis=0))
  assert ways['more images'].shape == (2, 15, 4)
  np.testing.assert_array_equal(ways['more images'][1, 5:10], features[1, 1])
