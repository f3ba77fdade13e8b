"""Trees of arrays compared: to the last bit, or to a share of their size."""

import jax
import numpy as np


def assert_identical(actual, expected):
  """The same names, and under each the same type, shape and values."""
  jax.tree_util.tree_map_with_path(
    lambda path, ours, theirs: np.testing.assert_array_equal(
      ours, theirs, jax.tree_util.keystr(path), strict=True
    ),
    actual,
    expected,
  )


def assert_close(actual, expected, tolerance=1e-5, smallest_scale=0.0):
  """Every leaf within `tolerance` of its largest expected magnitude.

  A leaf smaller than `smallest_scale` may be as wrong as one of that size.
  """
  leaves = jax.tree.leaves(actual), jax.tree.leaves(expected)
  for ours, theirs in zip(*leaves, strict=True):
    assert np.shape(ours) == np.shape(theirs)
    scale = max(smallest_scale, float(np.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)
