"""Every published Keras backbone, from a server to variables, in both file formats."""

import hashlib
import re

import numpy as np
import pytest

from egan_jax import pretrained
from egan_jax.pretrained import published
from tests.comparing import assert_identical

# Keras's own conversion of its variables to numpy.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ impl:DeprecationWarning')

NAMES = ['DenseNet121', 'VGG16', 'VGG19', 'ResNet101', 'EfficientNetB2']

_LEAVES = {
  'kernel': ('params', 'kernel'),
  'depthwise_kernel': ('params', 'kernel'),
  'bias': ('params', 'bias'),
  'gamma': ('params', 'scale'),
  'beta': ('params', 'bias'),
  'moving_mean': ('batch_stats', 'mean'),
  'moving_variance': ('batch_stats', 'var'),
  'mean': ('batch_stats', 'mean'),
  'variance': ('batch_stats', 'var'),
  'count': ('batch_stats', 'count'),
}
_MEAN, _STDDEV = np.float32([(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)])
# Keras 1's names in the VGG files.
_VGG_WEIGHTS = {'kernel': 'W_1', 'bias': 'b_1'}
_NUMBERED = re.compile(r'(input_layer|rescaling|normalization|zero_padding2d)(_\d+)?')


@pytest.fixture(scope='module', params=NAMES)
def model(request):
  """A Keras model with random weights, all different."""
  import keras

  keras.utils.clear_session()
  model = getattr(keras.applications, request.param)(
    include_top=False, weights=None, input_shape=(32, 32, 3)
  )
  rng = np.random.default_rng(0)
  for layer in model.layers:
    if isinstance(layer, keras.layers.Normalization):
      # As published: the standard deviation in the variance's place.
      layer.set_weights([_MEAN, _STDDEV, np.array(0)])
    elif layer.weights:
      layer.set_weights([rng.random(w.shape, np.float32) for w in layer.weights])
  return request.param, model


def _variables(model):
  """Keras's weights where flax wants them, found by Keras's own names."""
  variables = {}
  for layer in model.layers:
    # Keras counts these up within a process.
    name = _NUMBERED.sub(r'\1', layer.name)
    for weight in layer.weights:
      collection, leaf = _LEAVES[weight.name]
      value = np.asarray(weight, np.float32)  # Keras has the count as an integer
      if (name, leaf) == ('normalization', 'var'):
        value = value * _STDDEV  # Keras's second Rescaling
      variables.setdefault(collection, {}).setdefault(name, {})[leaf] = value
  return variables


def _as_published(name, model):
  """`[(layer, [(weight, array)])]` in the published file's own names."""
  layers = []
  for layer in model.layers:
    weights = [(weight.name, np.asarray(weight)) for weight in layer.weights]
    layer_name = layer.name
    if name == 'DenseNet121':
      layer_name = re.sub(r'^conv1_(conv|bn|relu)$', r'conv1/\1', layer_name)
    if name.startswith('VGG'):
      weights = [(f'{layer_name}_{_VGG_WEIGHTS[w]}', array) for w, array in weights]
    layer_name = layer_name.replace('input_layer', 'input_1')
    layers.append((layer_name, [(f'{w}:0', array) for w, array in weights]))
  return layers


@pytest.mark.parametrize('kind', ['legacy', 'keras3'])
def test_from_the_server_to_variables(
  kind, model, write_legacy, server, tmp_path, monkeypatch, capfd
):
  name, keras_model = model
  source = tmp_path / 'source.weights.h5'
  if kind == 'legacy':
    # VGG's weights stand in the layer's group itself.
    prefix = not name.startswith('VGG')
    write_legacy(source, _as_published(name, keras_model), prefix=prefix)
  else:
    keras_model.save_weights(source)
  body = source.read_bytes()
  filename = published.FILES[name].filename
  server.files[filename] = (body, len(body))
  entry = published.Published(
    filename, f'md5:{hashlib.md5(body).hexdigest()}', url=server.url(filename)
  )
  monkeypatch.setitem(published.FILES, name, entry)
  folder = tmp_path / 'weights'
  monkeypatch.setenv('EGAN_WEIGHTS_DIR', str(folder))

  downloaded = pretrained.load(name)
  assert '100%' in capfd.readouterr().err
  assert_identical(downloaded, _variables(keras_model))
  assert [path.name for path in folder.iterdir()] == [filename]

  server.files.clear()
  again = pretrained.load(name)
  assert capfd.readouterr().err == ''
  assert server.requests == [f'/{filename}']
  assert_identical(again, downloaded)


def test_every_keras_backbone_is_here():
  assert [name for name, file in published.FILES.items() if file.url] == NAMES
