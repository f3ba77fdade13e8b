"""EfficientNet-Lite0 with ImageNet weights against its PyTorch port."""

import pathlib

import jax
import numpy as np
import pytest

from egan_jax import backbones, pretrained
from egan_jax.backbones import graph, preprocessing

_GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'efficientnet_lite0.npz'


@pytest.mark.parametrize('size', [32, 224])
def test_golden_activations(size):
  with np.load(_GOLDEN) as archive:
    suffix = f'_{size}'
    golden = {
      key.removesuffix(suffix): archive[key] for key in archive if key.endswith(suffix)
    }
  images = golden.pop('images')
  pooled = golden.pop('pooled')
  layers = backbones.get('EfficientNetLite0').layers
  module = graph.LayerGraph(layers, (*golden, layers[-1].name))

  x = preprocessing.IMAGENET_MODES['lite'](preprocessing.to_unit_range(images))
  ours = jax.jit(module.apply)(pretrained.load('EfficientNetLite0'), x)

  np.testing.assert_allclose(
    ours.pop('top_activation').mean((1, 2)), pooled, atol=1e-4 * pooled.max(), rtol=0
  )
  for name, expected in golden.items():
    np.testing.assert_allclose(
      ours[name][:, :4, :4, :8], expected, atol=1e-4 * np.abs(expected).max(), rtol=0
    )


@pytest.mark.parametrize(
  ('name', 'size'), [('EfficientNetLite1', 4_189_344), ('EfficientNetLite2', 4_869_168)]
)
def test_weights_fit(name, size):
  """From the package's own file; Lite1 is the example of docs/adding_a_backbone.md."""
  assert sum(leaf.size for leaf in jax.tree.leaves(pretrained.load(name))) == size
