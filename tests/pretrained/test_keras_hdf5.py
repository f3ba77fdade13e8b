"""Files as Keras writes them today and as it published them load to Keras's weights."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from egan_jax import backbones, pretrained
from egan_jax.backbones.graph import LayerTable
from egan_jax.errors import UserError
from egan_jax.pretrained import keras_hdf5
from tests.comparing import assert_identical

# Keras's own conversion of its variables to numpy.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ impl:DeprecationWarning')

_OLD_NAMES = {
  'input_layer': 'input_1',
  'zero_padding2d': 'zero_padding2d_1',
  'zero_padding2d_1': 'zero_padding2d_2',
  'conv1_conv': 'conv1/conv',
  'conv1_bn': 'conv1/bn',
  'conv1_relu': 'conv1/relu',
}


@pytest.fixture(scope='module')
def densenet():
  """Keras's DenseNet121 with random weights, all different."""
  import keras

  keras.utils.clear_session()
  model = keras.applications.DenseNet121(
    include_top=False, weights=None, input_shape=(32, 32, 3)
  )
  rng = np.random.default_rng(0)
  model.set_weights(
    [rng.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in model.get_weights()]
  )
  return model


def _variables(model):
  """Keras's weights where flax wants them, found by Keras's own names."""
  collections = {
    'kernel': ('params', 'kernel'),
    'gamma': ('params', 'scale'),
    'beta': ('params', 'bias'),
    'moving_mean': ('batch_stats', 'mean'),
    'moving_variance': ('batch_stats', 'var'),
  }
  variables = {'params': {}, 'batch_stats': {}}
  for layer in model.layers:
    for weight in layer.weights:
      collection, leaf = collections[weight.name]
      variables[collection].setdefault(layer.name, {})[leaf] = np.asarray(weight)
  return variables


def test_densenet_in_the_published_files_own_names(densenet, write_legacy, tmp_path):
  layers = [
    (
      _OLD_NAMES.get(layer.name, layer.name),
      [(f'{w.name}:0', np.asarray(w)) for w in layer.weights],
    )
    for layer in densenet.layers
  ]
  path = write_legacy(tmp_path / 'weights', layers)
  with h5py.File(path) as file:
    assert '/conv1/bn/conv1/bn/gamma:0' in file
  assert_identical(pretrained.load('DenseNet121', path), _variables(densenet))


def test_densenet_as_keras_3_writes_it(densenet, tmp_path):
  densenet.save_weights(tmp_path / 'x.weights.h5')
  path = (tmp_path / 'x.weights.h5').rename(tmp_path / 'told by its content')
  expected = _variables(densenet)
  assert_identical(pretrained.load('DenseNet121', path), expected)

  with h5py.File(path, 'a') as file:  # as the first Keras 3 wrote it, without names
    for group in file['layers'].values():
      del group['vars'].attrs['name']
  assert_identical(pretrained.load('DenseNet121', path), expected)


def test_tiny_model_saved_whole_by_keras_2(tiny, tiny_weights, write_legacy, tmp_path):
  path = write_legacy(tmp_path / 'model.h5', tiny_weights, root='model_weights')
  variables = pretrained.load('Tiny', path)
  weights = dict(tiny_weights)
  np.testing.assert_array_equal(
    variables['params']['block1_conv2']['kernel'], weights['block1_conv2'][0][1]
  )
  np.testing.assert_array_equal(
    variables['batch_stats']['block1_bn']['var'], weights['block1_bn'][3][1]
  )


def test_names_of_weights_in_the_vgg_files(tiny, tiny_weights, write_legacy, tmp_path):
  older = {'kernel:0': 'W_1:0', 'bias:0': 'b_1:0'}
  layers = [
    (name, [(f'{name}_{older[w]}' if w in older else w, a) for w, a in weights])
    for name, weights in tiny_weights
  ]
  path = write_legacy(tmp_path / 'vgg.h5', layers, prefix=False)
  with h5py.File(path) as file:
    assert '/block1_conv1/block1_conv1_W_1:0' in file
  layers = keras_hdf5.read(path)
  assert [layer.leaves for layer in layers] == [
    ('kernel', 'bias'),
    ('scale', 'bias', 'mean', 'var'),
    ('kernel', 'bias'),
  ]
  expected = write_legacy(tmp_path / 'now.h5', tiny_weights)
  assert pretrained.fingerprint(pretrained.load('Tiny', path)) == (
    pretrained.fingerprint(pretrained.load('Tiny', expected))
  )


@pytest.fixture
def normalising(monkeypatch):
  """A backbone called B2 that begins as EfficientNetB2 does."""
  table = LayerTable()
  table.add('normalization', 'normalization')
  table.add('stem_conv', 'convolution', features=2, size=1)
  backbone = backbones.Backbone('B2', table.layers, preprocessing='none')
  monkeypatch.setattr(backbones, 'get', lambda _: backbone)


@pytest.mark.parametrize('keras3', [False, True])
@pytest.mark.parametrize('counted', [False, True])
def test_normalization_may_carry_a_count(
  counted, keras3, normalising, write_legacy, tmp_path
):
  mean, variance = np.float32([1, 2, 3]), np.float32([4, 5, 6])
  kernel = np.ones((1, 1, 3, 2), np.float32)
  weights = [('mean:0', mean), ('variance:0', variance), ('count:0', np.int64(7))]
  weights = weights[: 2 + counted]
  path = tmp_path / 'b2.h5'
  if keras3:
    with h5py.File(path, 'w') as file:
      file['layers/conv2d/vars/0'] = kernel
      for index, (_, value) in enumerate(weights):
        file[f'layers/normalization/vars/{index}'] = value
  else:
    layers = [('normalization_3', weights), ('stem_conv', [('kernel:0', kernel)])]
    write_legacy(path, layers)
  stats = pretrained.load('B2', path)['batch_stats']['normalization']
  count = np.float32(7 * counted)
  assert_identical(stats, {'mean': mean, 'var': variance, 'count': count})


def test_long_lists_of_names_come_in_pieces(tiny, tiny_weights, write_legacy, tmp_path):
  path = write_legacy(tmp_path / 'x.h5', tiny_weights)
  expected = pretrained.fingerprint(pretrained.load('Tiny', path))
  with h5py.File(path, 'a') as file:
    names = file.attrs['layer_names']
    del file.attrs['layer_names']
    file.attrs['layer_names0'], file.attrs['layer_names1'] = names[:2], names[2:]
  assert pretrained.fingerprint(pretrained.load('Tiny', path)) == expected


def test_truncated_file(tiny, tiny_weights, write_legacy, tmp_path):
  whole = write_legacy(tmp_path / 'whole.h5', tiny_weights).read_bytes()
  path = tmp_path / 'cut.h5'
  for size in (*range(0, 64, 7), *range(64, len(whole), 331), len(whole) - 1):
    path.write_bytes(whole[:size])
    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
      pretrained.load('Tiny', path)
    assert '\n' not in str(caught.value)


def _without_a_dataset(file):
  del file['block1_conv2/block1_conv2/kernel:0']


def _with_a_group_for_a_dataset(file):
  _without_a_dataset(file)
  file.create_group('block1_conv2/block1_conv2/kernel:0')


def _with_a_number_for_names(file):
  file.attrs['layer_names'] = 3


@pytest.mark.parametrize(
  'damage',
  [_without_a_dataset, _with_a_group_for_a_dataset, _with_a_number_for_names],
)
def test_damaged_file(damage, tiny, tiny_weights, write_legacy, tmp_path):
  path = write_legacy(tmp_path / 'x.h5', tiny_weights)
  with h5py.File(path, 'a') as file:
    damage(file)
  with pytest.raises(UserError, match='damaged'):
    pretrained.load('Tiny', path)


def test_odd_keras_3_groups_are_an_error(tmp_path):
  path = tmp_path / 'x.weights.h5'
  with h5py.File(path, 'w') as file:
    file['layers/conv2d/vars/kernel'] = np.ones(3)
  with pytest.raises(UserError, match='damaged'):
    keras_hdf5.read(path)


def test_file_of_something_else(tiny, tmp_path):
  with h5py.File(tmp_path / 'data.h5', 'w') as file:
    file['images'] = np.zeros(3)
  with pytest.raises(UserError, match='not one of Keras weights'):
    pretrained.load('Tiny', tmp_path / 'data.h5')
  Path(tmp_path / 'page.h5').write_text('<html>sign in</html>')
  with pytest.raises(UserError, match='no weights file'):
    pretrained.load('Tiny', tmp_path / 'page.h5')
