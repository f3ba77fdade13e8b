"""Our backbones against `keras.applications`, every weight and statistic random."""

import dataclasses
import functools
import re
import sys
from typing import NamedTuple

import jax
import keras
import numpy as np
import pytest

from egan_jax import backbones
from egan_jax.backbones import graph
from tests.comparing import assert_close

# Keras numbers layers of these types when it has to name them itself.
_NUMBERED = re.compile(r'(input_layer|zero_padding2d|rescaling|normalization)(_\d+)?')

_KERAS_TYPES = {
  'input': 'InputLayer',
  'convolution': 'Conv2D',
  'depthwise_convolution': 'DepthwiseConv2D',
  'batch_norm': 'BatchNormalization',
  'zero_padding': 'ZeroPadding2D',
  'same_padding': 'ZeroPadding2D',
  'max_pool': 'MaxPooling2D',
  'average_pool': 'AveragePooling2D',
  'global_average_pool': 'GlobalAveragePooling2D',
  'concatenate': 'Concatenate',
  'add': 'Add',
  'multiply': 'Multiply',
  'reshape': 'Reshape',
  'rescaling': 'Rescaling',
  'normalization': 'Normalization',
  'identity': 'Dropout',
  'swish': 'silu',
}

# Where Keras's weights go in our variables.
_LEAVES = {
  'kernel': ('params', 'kernel'),
  'bias': ('params', 'bias'),
  'gamma': ('params', 'scale'),
  'beta': ('params', 'bias'),
  'moving_mean': ('batch_stats', 'mean'),
  'moving_variance': ('batch_stats', 'var'),
  'variance': ('batch_stats', 'var'),
  'mean': ('batch_stats', 'mean'),
  'count': ('batch_stats', 'count'),
}


class Case(NamedTuple):
  name: str
  batch: int
  size: int


CASES = [
  Case('DenseNet121', 2, 32),
  Case('DenseNet121', 1, 224),
  Case('VGG16', 2, 32),
  Case('VGG16', 1, 224),
  Case('VGG19', 2, 32),
  Case('VGG19', 1, 224),
  Case('ResNet101', 2, 32),
  Case('ResNet101', 1, 224),
  Case('EfficientNetB2', 2, 32),
  Case('EfficientNetB2', 1, 224),
  Case('EfficientNetB2', 1, 260),
]
TOLERANCE = 2e-5  # of the largest activation of a layer
NAMES = sorted({case.name for case in CASES})


@functools.cache
def _keras_model(name, size=None):
  """Of a size that is no multiple of 32, EfficientNetB2 pads in a way of its own."""
  return getattr(keras.applications, name)(
    weights=None, include_top=False, input_shape=(size, size, 3)
  )


def _images(name, batch, size):
  """Coarse noise under fine noise; alone, the fine one would average out."""
  rng = np.random.default_rng(batch)
  coarse = rng.uniform(size=(batch, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
  images = 0.7 * coarse + 0.3 * rng.uniform(size=coarse.shape)
  # EfficientNetB2 preprocesses by itself.
  images = 255 * images if name == 'EfficientNetB2' else 4 * images - 2
  return images.astype(np.float32)


def _random_weight(weight, rng):
  shape = weight.shape
  match weight.name:
    case 'kernel' | 'depthwise_kernel':
      inputs = shape[0] * shape[1] * (shape[2] if weight.name == 'kernel' else 1)
      return rng.normal(0, np.sqrt(2 / inputs), shape)
    case 'gamma':
      return rng.uniform(0.5, 1.5, shape)
    case 'moving_variance':
      return rng.uniform(0.5, 1.5, shape)
    case 'beta' | 'bias' | 'moving_mean':
      return rng.normal(0, 0.2, shape)
    case 'mean':
      return rng.uniform(0.3, 0.6, shape)
    case 'variance':
      return rng.uniform(0.04, 0.08, shape)
    case 'count':
      return 7
  raise AssertionError(f'no rule for the weight {weight.path}')


@functools.cache
def _random_weights(name):
  """Random weights of a Keras model, with statistics somewhere near the true ones.

  With statistics that have nothing to do with the activations, the signal dies
  or explodes in a hundred layers, and then the deep ones would go untested.
  """
  rng = np.random.default_rng(0)
  model = _keras_model(name)
  for weight in model.weights:
    weight.assign(_random_weight(weight, rng))
  norms = [
    layer
    for layer in model.layers
    if isinstance(layer, keras.layers.BatchNormalization)
  ]
  if norms:
    for norm in norms:
      norm.momentum = 0.0
    trainable = [weight.value for weight in model.trainable_variables]
    statistics = [weight.value for weight in model.non_trainable_variables]
    step = functools.partial(model.stateless_call, training=True)
    _, statistics = jax.jit(step)(trainable, statistics, _images(name, 4, 128))
    for weight, value in zip(model.non_trainable_variables, statistics, strict=True):
      weight.assign(value)
  for norm in norms:
    mean, var = (np.asarray(w.value) for w in (norm.moving_mean, norm.moving_variance))
    norm.moving_mean.assign(mean + np.sqrt(var) * rng.normal(0, 0.2, var.shape))
    # A channel that hardly varied at 128 px would be blown up at other sizes.
    var = var + 0.3 * var.mean()
    norm.moving_variance.assign(var * rng.uniform(0.7, 1.4, var.shape))
  return [np.asarray(weight.value) for weight in model.weights]


@functools.cache
def _random_model(name, size=None):
  """A Keras model and its weights as variables for our layers."""
  model = _keras_model(name, size)
  model.set_weights(_random_weights(name))
  variables = {}
  for ours, theirs in zip(backbones.get(name).layers, model.layers, strict=True):
    for weight in theirs.weights:
      collection, leaf = _LEAVES[weight.name.removeprefix('depthwise_')]
      leaves = variables.setdefault(collection, {}).setdefault(ours.name, {})
      leaves[leaf] = np.asarray(weight.value, np.float32)
    if isinstance(theirs, keras.layers.Normalization):
      # Until then it goes on with the statistics it was built with.
      theirs.finalize_state()
  return model, variables


@pytest.mark.parametrize('name', NAMES)
def test_layers(name):
  def plain(layer_name):
    match = _NUMBERED.fullmatch(layer_name)
    return match[1] if match else layer_name

  def keras_op(layer):
    kind = type(layer).__name__
    return layer.activation.__name__ if kind == 'Activation' else kind

  model, _ = _random_model(name)
  theirs = [(plain(layer.name), keras_op(layer)) for layer in model.layers]
  ours = [
    (plain(layer.name), _KERAS_TYPES.get(layer.op, layer.op))
    for layer in backbones.get(name).layers
  ]
  assert ours == theirs


@pytest.mark.parametrize('name', NAMES)
def test_batch_norm_epsilons(name):
  """1e-5 and Keras's 1.001e-5 differ by less than rounding."""
  model, _ = _random_model(name)
  for ours, theirs in zip(backbones.get(name).layers, model.layers, strict=True):
    if ours.op == 'batch_norm':
      assert ours.attributes['epsilon'] == theirs.epsilon


@pytest.mark.parametrize('name', NAMES)
def test_variables(name):
  _, theirs = _random_model(name)
  images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  ours = jax.eval_shape(backbones.create(name).init, jax.random.key(0), images)
  jax.tree.map(
    np.testing.assert_equal,
    *(
      jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
      for tree in (ours, theirs)
    ),
  )


@pytest.mark.parametrize(
  'case',
  [
    pytest.param(case, marks=[pytest.mark.slow] if case.size > 32 else [])
    for case in CASES
  ],
  ids='{0.name}-{0.size}'.format,
)
def test_activations(case):
  model, variables = _random_model(case.name, case.size if case.size % 32 else None)
  layers = backbones.get(case.name).layers
  indices = np.linspace(1, len(layers) - 1, 12).astype(int)
  images = _images(*case)

  inner = keras.Model(model.inputs, [model.layers[index].output for index in indices])
  theirs = inner.predict_on_batch(images)
  names = tuple(layers[index].name for index in indices)
  ours = jax.jit(graph.LayerGraph(layers, names).apply)(variables, images)

  assert_close(ours, dict(zip(names, theirs, strict=True)), TOLERANCE)


def test_efficientnet_with_imagenet_weights(monkeypatch):
  """Keras builds a network with a layer more when it is to load those."""
  module = sys.modules[keras.applications.efficientnet.EfficientNetB2.__module__]
  monkeypatch.setattr(module.file_utils, 'get_file', lambda *_, **__: None)
  monkeypatch.setattr(module.Functional, 'load_weights', lambda *_: None)
  model = keras.applications.EfficientNetB2(
    weights='imagenet', include_top=False, input_shape=(32, 32, 3)
  )
  backbone = backbones.get('EfficientNetB2')
  assert len(model.layers) == len(backbone.layers) + 1
  model.set_weights(_random_weights('EfficientNetB2'))
  # What the published file holds.
  normalization = model.layers[2]
  mean, stddev = np.array([(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)], np.float32)
  normalization.set_weights([mean, stddev, np.array(0)])
  normalization.finalize_state()

  _, variables = _random_model('EfficientNetB2')
  statistics = {'normalization': {'mean': mean, 'var': stddev, 'count': np.float32(0)}}
  variables = variables | {'batch_stats': variables['batch_stats'] | statistics}
  images = _images('EfficientNetB2', 2, 32)
  ours = jax.jit(backbone.graph().apply)(backbone.adapt_weights(variables), images)
  assert_close(ours, model.predict_on_batch(images), TOLERANCE)


@pytest.mark.parametrize('name', NAMES)
def test_only_imagenet_weights_are_adapted(name):
  _, variables = _random_model(name)
  assert backbones.get(name).adapt_weights(variables) is variables


@pytest.mark.parametrize('name', ['DenseNet121', 'EfficientNetB2'])
def test_initial_kernels(name):
  """Distributed as in Keras: its default, and EfficientNet's own initialiser."""
  rows = zip(backbones.get(name).layers, _keras_model(name).layers, strict=True)
  large = [
    (row, layer)
    for row, layer in rows
    if layer.weights and np.prod(layer.weights[0].shape) > 5000
  ]
  for row, layer in large[:: len(large) // 10]:
    fresh = type(layer).from_config(layer.get_config())
    fresh.build(layer.input.shape)
    theirs = np.asarray(fresh.weights[0].value)
    channels = np.zeros((1, 9, 9, theirs.shape[2]))
    layers = (
      graph.Layer('images', 'input'),
      dataclasses.replace(row, inputs=('images',)),
    )
    variables = graph.LayerGraph(layers, row.name).init(jax.random.key(0), channels)
    ours = variables['params'][row.name]['kernel']
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.1)
    np.testing.assert_allclose(np.abs(ours).max(), np.abs(theirs).max(), rtol=0.2)
