"""Activations made a batch at a time are those of all images at once."""

import jax
import numpy as np
import pytest

from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.activation_cache import compute_boundary_activations


@pytest.mark.parametrize('number', [1, 128, 131])
def test_any_number_of_images(tiny_backbone, tiny_variables, number):
  trunk_graph, _ = graph.split(tiny_backbone.layers, len(tiny_backbone.layers) - 4)
  trunk = Trunk(tiny_variables, trunk_graph, 'none', image_size=16)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (number, 8, 8, 3), np.uint8)
  cached = compute_boundary_activations(trunk, images)
  direct = jax.jit(trunk.__call__)(images.astype(np.float32) / 255)
  assert cached.keys() == direct.keys() == set(trunk_graph.output)
  for name, values in direct.items():
    assert cached[name].shape == values.shape
    np.testing.assert_allclose(cached[name], values, rtol=0, atol=1e-5)
