"""The networks of Fig. 5 against the same layers in Keras."""

import jax
import keras
import numpy as np
import pytest
from keras import layers

from egan_jax import backbones
from tests.comparing import assert_close


def _keras_encoder():
  model = keras.Sequential([keras.Input((32, 32, 3))])
  for _ in range(2):
    model.add(layers.Conv2D(32, 3, padding='same'))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(layers.MaxPooling2D())
  return model


def _keras_discriminator():
  model = keras.Sequential([keras.Input((32, 32, 3))])
  for features in (64, 128):
    model.add(layers.Conv2D(features, 5, strides=2, padding='same'))
    model.add(layers.LeakyReLU(negative_slope=0.2))
    model.add(layers.Dropout(0.4))
  return model


def _port(model, name):
  """Random weights for a Keras model, and the same as our variables."""
  rng = np.random.default_rng(0)
  variables = {'params': {}, 'batch_stats': {}}
  for ours, theirs in zip(backbones.get(name).layers[1:], model.layers, strict=True):
    weights = [
      rng.uniform(0.1, 0.3, w.shape).astype(np.float32) for w in theirs.weights
    ]
    theirs.set_weights(weights)
    if ours.op == 'convolution':
      variables['params'][ours.name] = dict(
        zip(('kernel', 'bias'), weights, strict=True)
      )
    elif ours.op == 'batch_norm':
      gamma, beta, mean, var = weights
      variables['params'][ours.name] = {'scale': gamma, 'bias': beta}
      variables['batch_stats'][ours.name] = {'mean': mean, 'var': var}
  return variables


_CASES = [
  ('SmallConvEncoder', _keras_encoder),
  ('SmallConvDiscriminator', _keras_discriminator),
]


def _images():
  images = np.random.default_rng(1).normal(size=(4, 32, 32, 3))
  return images.astype(np.float32)


@pytest.mark.parametrize('name, build', _CASES)
def test_inference(name, build):
  model = build()
  variables = _port(model, name)
  assert_close(
    backbones.create(name).apply(variables, _images()),
    model.predict_on_batch(_images()),
  )


def test_encoder_in_training():
  model = _keras_encoder()
  variables = _port(model, 'SmallConvEncoder')
  ours, updates = backbones.create('SmallConvEncoder').apply(
    variables, _images(), train=True, mutable=['batch_stats']
  )
  assert_close(ours, np.asarray(model(_images(), training=True)))
  norms = [m for m in model.layers if isinstance(m, layers.BatchNormalization)]
  for name, norm in zip(('block1_bn', 'block2_bn'), norms, strict=True):
    statistics = updates['batch_stats'][name]
    assert_close(statistics['mean'], np.asarray(norm.moving_mean.value))
    assert_close(statistics['var'], np.asarray(norm.moving_variance.value))


def test_discriminator_drops_in_training():
  graph = backbones.create('SmallConvDiscriminator')
  variables = graph.init(jax.random.key(0), _images())

  def run(seed):
    rngs = {'dropout': jax.random.key(seed)}
    return graph.apply(variables, _images(), train=True, rngs=rngs)

  dropped = (np.asarray(run(0)) == 0).mean()
  assert 0.38 < dropped < 0.42
  assert not np.array_equal(run(0), run(1))
