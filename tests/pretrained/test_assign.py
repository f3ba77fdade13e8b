"""Whatever does not fit is an error that shows both sides."""

import jax
import numpy as np
import pytest

from egan_jax import backbones, pretrained
from egan_jax.errors import UserError
from egan_jax.pretrained import assign


def _load(layers, write_legacy, tmp_path):
  return pretrained.load('Tiny', write_legacy(tmp_path / 'x.h5', layers))


def _message(layers, write_legacy, tmp_path):
  with pytest.raises(UserError) as caught:
    _load(layers, write_legacy, tmp_path)
  message = str(caught.value)
  assert message.startswith(f'{tmp_path}/x.h5 does not fit Tiny: ')
  assert '\n' not in message
  return message.partition('Tiny: ')[2]


def test_targets_follow_the_table(tiny):
  targets = assign.targets(tiny)
  assert [t.name for t in targets] == ['block1_conv1', 'block1_bn', 'block1_conv2']
  assert targets[1].kind == 'batch_normalization'
  assert targets[1].leaves == (
    ('params', 'scale'),
    ('params', 'bias'),
    ('batch_stats', 'mean'),
    ('batch_stats', 'var'),
  )
  assert targets[0].shapes == ((3, 3, 3, 4), (4,))


def test_every_leaf_of_init_is_set(tiny, tiny_weights, write_legacy, tmp_path):
  variables = _load(tiny_weights, write_legacy, tmp_path)
  init = jax.eval_shape(
    backbones.get('Tiny').graph().init, jax.random.key(0), np.zeros((1, 8, 8, 3), 'f')
  )
  assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, init)


def test_missing_layer(tiny, tiny_weights, write_legacy, tmp_path):
  del tiny_weights[2]
  assert _message(tiny_weights, write_legacy, tmp_path) == (
    'only in the backbone: 1 layer (block1_bn [4, 4, 4, 4]); only in the file: nothing'
  )


def test_layers_of_a_top(tiny, tiny_weights, write_legacy, tmp_path):
  for number in range(5):
    weights = [('kernel:0', np.zeros((4, 9), 'f')), ('bias:0', np.zeros(9, 'f'))]
    tiny_weights.append((f'top{number}', weights))
  assert _message(tiny_weights, write_legacy, tmp_path) == (
    'only in the backbone: nothing; only in the file: '
    '5 layers (top0 [4x9, 9], top1 [4x9, 9], top2 [4x9, 9], ...)'
  )


def test_wrong_shape(tiny, tiny_weights, write_legacy, tmp_path):
  tiny_weights[1][1][0] = ('kernel:0', np.zeros((3, 3, 1, 4), 'f'))
  assert _message(tiny_weights, write_legacy, tmp_path) == (
    'only in the backbone: 1 layer (block1_conv1 [3x3x3x4, 4]); '
    'only in the file: 1 layer (block1_conv1 [3x3x1x4, 4])'
  )


def test_missing_bias(tiny, tiny_weights, write_legacy, tmp_path):
  del tiny_weights[1][1][1]
  message = _message(tiny_weights, write_legacy, tmp_path)
  assert message.endswith('only in the file: 1 layer (block1_conv1 [3x3x3x4])')


def test_layers_of_one_shape_in_another_order(write_legacy, tmp_path, monkeypatch):
  table = backbones.graph.LayerTable()
  for name in ('a', 'b'):
    table.add(name, 'batch_norm', epsilon=1e-3)
  saved = [
    assign.SavedLayer(name, (np.zeros(3, 'f'),) * 4, ('',) * 4) for name in ('b', 'a')
  ]
  with pytest.raises(UserError, match='order'):
    assign.assign(assign.targets(table.layers), saved, 'x')
  strangers = [assign.SavedLayer(f'bn_{i}', *_fields(saved[i])) for i in range(2)]
  variables = assign.assign(assign.targets(table.layers), strangers, 'x')
  assert variables['params'].keys() == {'a', 'b'}


def _fields(layer):
  return layer.weights, layer.leaves


def test_weights_of_a_layer_in_another_order(
  tiny, tiny_weights, write_legacy, tmp_path
):
  weights = tiny_weights[2][1]
  weights[0], weights[1] = weights[1], weights[0]
  assert _message(tiny_weights, write_legacy, tmp_path) == (
    'layer block1_bn has bias where scale should be'
  )


def test_doubles_and_integers_are_not_narrowed(
  tiny, tiny_weights, write_legacy, tmp_path
):
  tiny_weights[1][1][1] = ('bias:0', np.zeros(4, np.float64))
  message = _message(tiny_weights, write_legacy, tmp_path)
  assert message == 'layer block1_conv1 holds float64, not float32'


def test_fingerprint(tiny, tiny_weights, write_legacy, tmp_path):
  variables = _load(tiny_weights, write_legacy, tmp_path)
  fingerprint = pretrained.fingerprint(variables)
  assert len(fingerprint) == 64
  shuffled = {key: variables[key] for key in reversed(variables)}
  assert pretrained.fingerprint(jax.tree.map(jax.numpy.asarray, shuffled)) == (
    fingerprint
  )
  kernel = variables['params']['block1_conv1']['kernel']
  reshaped = kernel.reshape(1, 9, 3, 4)
  for change in (kernel + 1, reshaped):
    variables['params']['block1_conv1']['kernel'] = change
    assert pretrained.fingerprint(variables) != fingerprint


def test_unknown_backbone_and_one_without_weights():
  with pytest.raises(UserError, match='unknown backbone'):
    pretrained.load('DenseNet12')
  with pytest.raises(UserError, match='trained from scratch'):
    pretrained.load('SmallConvEncoder')
