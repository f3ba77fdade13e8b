"""Every registered backbone against its row of the design's table."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from egan_jax import backbones
from egan_jax.errors import UserError


class Row(NamedTuple):
  layers: int
  params: int
  trainable_in_last_five: int
  # Channels, or the length of the flattened map of a 32 px image.
  features: int


ROWS = {
  'DenseNet121': Row(427, 7_037_504, 38_912, 1024),
  'VGG16': Row(19, 14_714_688, 7_079_424, 512),
  'VGG19': Row(22, 20_024_384, 9_439_232, 512),
  'ResNet101': Row(345, 42_658_176, 1_054_720, 2048),
  'EfficientNetB2': Row(339, 7_768_569, 498_432, 1408),
  'EfficientNetLite0': Row(150, 3_413_024, 781_440, 1280),
  'EfficientNetLite1': Row(200, 4_189_344, 781_440, 1280),
  'EfficientNetLite2': Row(200, 4_869_168, 893_120, 1280),
  'SmallConvEncoder': Row(9, 10_400, 9_312, 8 * 8 * 32),
  'SmallConvDiscriminator': Row(7, 209_792, 204_928, 8 * 8 * 128),
}


def _size(tree) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('name', backbones.names())
def test_row(name):
  backbone = backbones.get(name)
  images = jnp.zeros((1, 32, 32, 3))
  features, variables = jax.eval_shape(
    backbone.graph().init_with_output, jax.random.key(0), images
  )
  last = {layer.name for layer in backbone.layers[-5:]}
  trainable = {k: v for k, v in variables['params'].items() if k in last}
  pooled = features.shape[-1] if backbone.pooling == 'average' else _size(features)
  row = Row(len(backbone.layers), _size(variables), _size(trainable), pooled)
  assert row == ROWS[name]


def test_every_row_is_registered():
  assert set(backbones.names()) == set(ROWS)


@pytest.mark.parametrize('name', backbones.names())
def test_every_layer_with_variables_has_its_own_name(name):
  backbone = backbones.get(name)
  variables = jax.eval_shape(
    backbone.graph().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
  )
  names = {layer.name for layer in backbone.layers}
  assert len(names) == len(backbone.layers)
  assert set(variables['params']) | set(variables.get('batch_stats', {})) <= names


def test_unknown_name():
  with pytest.raises(UserError, match='DenseNet121'):
    backbones.get('DenseNet122')
