import jax
import jax.numpy as jnp
import pytest

from egan_jax import backbones, freezing
from egan_jax.errors import UserError


def test_top_five_of_densenet121_are_the_authors():
  layers = backbones.get('DenseNet121').layers
  first = freezing.first_trainable_layer(len(layers), 5)
  assert [layer.name for layer in layers[first:]] == [
    'conv5_block16_1_relu',
    'conv5_block16_2_conv',
    'conv5_block16_concat',
    'bn',
    'relu',
  ]


@pytest.mark.parametrize('fine_tune_layers', [-1, 428])
def test_more_layers_than_there_are(fine_tune_layers):
  with pytest.raises(UserError, match='427 layers'):
    freezing.first_trainable_layer(427, fine_tune_layers)


def test_labels_are_total(tiny_backbone):
  params = {
    'backbone': {'conv1': {'kernel': 0}, 'conv3': {'kernel': 0}},
    'score': {'kernel': 0},
  }
  assert freezing.label_parameters(params, tiny_backbone.layers, 4) == {
    'backbone': {
      'conv1': {'kernel': freezing.FROZEN},
      'conv3': {'kernel': freezing.TRAINABLE},
    },
    'score': {'kernel': freezing.TRAINABLE},
  }
  params['backbone']['conv33'] = {'kernel': 0}
  with pytest.raises(ValueError, match='conv33'):
    freezing.label_parameters(params, tiny_backbone.layers, 4)


def test_frozen_leaf_gets_no_update_whatever_its_gradient():
  params = {'a': jnp.ones(3), 'b': jnp.ones(3)}
  tx = freezing.optimizer(0.1, {'a': freezing.TRAINABLE, 'b': freezing.FROZEN})
  updates, _ = tx.update(
    jax.tree.map(lambda a: a * jnp.nan, params) | {'a': jnp.ones(3)},
    tx.init(params),
    params,
  )
  assert (updates['b'] == 0).all()
  assert (updates['a'] < 0).all()
