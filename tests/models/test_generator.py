"""The decoder and its transposed convolution against the same layers in Keras."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers

from egan_jax.models.generator import LATENT_SIZE, Decoder, Generator
from egan_jax.models.transposed_convolution import TransposedConvolution
from tests.comparing import assert_close

# Keras's own conversion of its variables to numpy.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ impl:DeprecationWarning')

# Our modules in the order of the Keras layers that have weights.
WEIGHTED = (
  'dense',
  'conv_transpose_1',
  'batch_norm_1',
  'conv_transpose_2',
  'batch_norm_2',
)


# Both ways of computing it: few and many channels for 4 features.
@pytest.mark.parametrize(
  'shape', [(2, 8, 8, 5), (1, 1, 1, 3), (3, 5, 2, 1), (2, 3, 2, 10), (1, 1, 1, 16)]
)
def test_transposed_convolution(shape):
  rng = np.random.default_rng(0)
  theirs = layers.Conv2DTranspose(4, 3, strides=2, padding='same')
  theirs.build(shape)
  kernel, bias = (rng.normal(size=w.shape).astype(np.float32) for w in theirs.weights)
  theirs.set_weights([kernel, bias])
  x = rng.normal(size=shape).astype(np.float32)
  ours = TransposedConvolution(4).apply({'params': {'kernel': kernel, 'bias': bias}}, x)
  assert_close(ours, theirs(x))


def test_transposed_convolution_starts_as_keras_does():
  """Glorot's limit with Keras's fans: 9 taps times the channels on either side."""
  variables = TransposedConvolution(64).init(
    jax.random.key(0), jnp.zeros((1, 2, 2, 32))
  )
  kernel = variables['params']['kernel']
  theirs = layers.Conv2DTranspose(64, 3)
  theirs.build((1, 2, 2, 32))
  expected = np.asarray(theirs.weights[0])
  assert kernel.shape == expected.shape
  assert np.abs(kernel).max() == pytest.approx(np.abs(expected).max(), rel=1e-2)
  assert not variables['params']['bias'].any()


@pytest.fixture
def keras_decoder():
  """Section 3.1 with all weights and statistics randomised."""
  keras.utils.clear_session()
  model = keras.Sequential(
    [
      keras.Input((LATENT_SIZE,)),
      layers.Dense(2048),
      layers.LeakyReLU(negative_slope=0.2),
      layers.Reshape((8, 8, 32)),
      layers.Conv2DTranspose(64, 3, strides=2, padding='same'),
      layers.BatchNormalization(),
      layers.LeakyReLU(negative_slope=0.2),
      layers.Conv2DTranspose(3, 3, strides=2, padding='same'),
      layers.BatchNormalization(),
      layers.Activation('sigmoid'),
    ]
  )
  rng = np.random.default_rng(1)
  for layer in model.layers:
    values = [rng.normal(0, 0.1, w.shape) for w in layer.weights]
    if isinstance(layer, layers.BatchNormalization):
      values = [np.abs(value) + 0.5 for value in values]
    layer.set_weights(values)
  return model


def _variables(model):
  variables = {'params': {}, 'batch_stats': {}}
  weighted = [layer for layer in model.layers if layer.weights]
  for name, layer in zip(WEIGHTED, weighted, strict=True):
    weights = [np.asarray(weight) for weight in layer.weights]
    if name.startswith('batch_norm'):
      variables['params'][name] = dict(zip(('scale', 'bias'), weights, strict=False))
      variables['batch_stats'][name] = dict(
        zip(('mean', 'var'), weights[2:], strict=True)
      )
    else:
      variables['params'][name] = dict(zip(('kernel', 'bias'), weights, strict=True))
  return variables


def _latent(batch=6):
  return np.random.default_rng(2).normal(size=(batch, LATENT_SIZE)).astype(np.float32)


def test_decoder_in_inference(keras_decoder):
  images = Decoder().apply(_variables(keras_decoder), _latent())
  assert images.shape == (6, 32, 32, 3)
  assert_close(images, keras_decoder(_latent(), training=False))


@pytest.mark.parametrize('batch', [1, 6])
def test_decoder_in_training(keras_decoder, batch):
  before = _variables(keras_decoder)
  images, updated = Decoder().apply(
    before, _latent(batch), train=True, mutable=['batch_stats']
  )
  assert_close(images, keras_decoder(_latent(batch), training=True))
  after = _variables(keras_decoder)['batch_stats']
  for name, statistics in after.items():
    for leaf, values in statistics.items():
      assert (values != before['batch_stats'][name][leaf]).all()
      assert_close(updated['batch_stats'][name][leaf], values)


def test_decoder_has_the_weights_of_keras(keras_decoder):
  made = Decoder().init(jax.random.key(0), _latent(1))
  shapes = jax.tree.map(jnp.shape, made)
  assert shapes == jax.tree.map(jnp.shape, _variables(keras_decoder))
  keras_starts = {'scale': 1, 'bias': 0, 'mean': 0, 'var': 1}
  for path, leaf in jax.tree_util.tree_leaves_with_path(made):
    if path[-1].key in keras_starts:
      assert (np.asarray(leaf) == keras_starts[path[-1].key]).all()


def test_generator_decodes_what_it_encodes(tiny_backbone, tiny_variables):
  generator = Generator(tiny_backbone.graph())
  images = np.random.default_rng(3).random((2, 16, 16, 3), np.float32)
  tensors = {tiny_backbone.layers[0].name: images}
  made = jax.jit(generator.init)(jax.random.key(0), tensors)
  features = tiny_backbone.graph().apply(tiny_variables, images)
  made['params']['backbone'] = tiny_variables['params']
  made['batch_stats']['backbone'] = tiny_variables['batch_stats']

  latent = generator.apply(made, tensors, method='encode')
  dense = made['params']['latent']
  pooled = np.asarray(features).mean((1, 2))
  assert_close(latent, pooled @ dense['kernel'] + dense['bias'])
  decoder = {name: values['decoder'] for name, values in made.items()}
  generated = generator.apply(made, tensors)
  assert_close(generated, Decoder().apply(decoder, latent))
