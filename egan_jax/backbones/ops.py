"""The operations a layer table can name, with the semantics of Keras.

Every function takes the input arrays (`[B, H, W, C]`, channels last) and the
layer's name and attributes. `train` is passed to all and used by the few that
behave differently in training.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from egan_jax.backbones import max_pooling
from egan_jax.backbones.convolution import Convolution, DepthwiseConvolution


def _stateless(function: Callable) -> Callable:
  """Adapts a function of arrays and attributes to the ops' signature."""

  @functools.wraps(function)
  def op(*inputs, name, train, **attributes):
    del name, train
    return function(*inputs, **attributes)

  return op


_ACTIVATIONS: dict[str, Callable] = {
  'relu': jax.nn.relu,
  'relu6': jax.nn.relu6,
  'swish': jax.nn.swish,
  'sigmoid': jax.nn.sigmoid,
}


def convolution(x, *, name, train, activation=None, **attributes):
  """Keras `Conv2D`: parameters `kernel` `[h, w, in, out]` and maybe `bias`.

  `activation` is for the layers where Keras makes it part of the convolution.
  """
  del train
  y = Convolution(name=name, **attributes)(x)
  return _ACTIVATIONS[activation](y) if activation else y


def depthwise_convolution(x, *, name, train, **attributes):
  """Keras `DepthwiseConv2D`, multiplier 1: `kernel` `[h, w, in, 1]`."""
  del train
  return DepthwiseConvolution(name=name, **attributes)(x)


def batch_norm(x, *, name, train, epsilon, from_scratch=False):
  """Keras `BatchNormalization` (momentum 0.99).

  In inference mode always, unless the layer belongs to a network that is
  trained `from_scratch`: pre-trained statistics would be ruined by batches of a
  few images.
  """
  return nn.BatchNorm(
    use_running_average=not (from_scratch and train),
    momentum=0.99,
    epsilon=epsilon,
    name=name,
  )(x)


class Normalization(nn.Module):
  """Keras `Normalization` by channel: `mean` and `var` `[C]`, and a `count`.

  The count is how many pixels Keras adapted the layer to. Nothing reads it, but
  Keras stores it and counts it as a parameter.
  """

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, H, W, C]` to the same shape."""
    channels = (x.shape[-1],)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32)
    var = self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32)
    self.variable('batch_stats', 'count', jnp.zeros, (), jnp.float32)
    # Keras's guard against a channel without variance.
    return (x - mean.value) / jnp.maximum(jnp.sqrt(var.value), 1e-7)


def normalization(x, *, name, train):
  """Keras `Normalization`."""
  del train
  return Normalization(name=name)(x)


def dropout(x, *, name, train, rate):
  """Keras `Dropout`; draws from the `dropout` rng in training."""
  return nn.Dropout(rate, name=name)(x, deterministic=not train)


def zero_padding(x, *, padding):
  """Keras `ZeroPadding2D`; `padding` is ((top, bottom), (left, right))."""
  return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def same_padding(x, *, size, strides):
  """The `correct_pad` of Keras's EfficientNet.

  After it a VALID convolution gives what TensorFlow's 'SAME' would have given.
  """
  padding = jax.lax.padtype_to_pads(
    x.shape[1:3], (size, size), (strides, strides), 'SAME'
  )
  return zero_padding(x, padding=padding)


def max_pool(x, *, size, strides, padding='VALID'):
  """Keras `MaxPooling2D`."""
  return max_pooling.max_pool(x, size, strides, padding)


def average_pool(x, *, size):
  """Keras `AveragePooling2D` with strides equal to its size, VALID.

  A reshape and a mean: XLA fuses it, and its transpose is a broadcast.
  """
  batch, height, width, channels = x.shape
  rows, columns = height // size, width // size
  x = x[:, : rows * size, : columns * size]
  x = x.reshape(batch, rows, size, columns, size, channels)
  return x.mean(axis=(2, 4))


OPS: dict[str, Callable] = {
  'convolution': convolution,
  'depthwise_convolution': depthwise_convolution,
  'batch_norm': batch_norm,
  'dropout': dropout,
  'normalization': normalization,
  'zero_padding': _stateless(zero_padding),
  'same_padding': _stateless(same_padding),
  'max_pool': _stateless(max_pool),
  'average_pool': _stateless(average_pool),
  'global_average_pool': _stateless(lambda x: x.mean(axis=(1, 2))),
  'reshape': _stateless(lambda x, shape: x.reshape(x.shape[0], *shape)),
  'rescaling': _stateless(lambda x, scale: x * scale),
  **{name: _stateless(function) for name, function in _ACTIVATIONS.items()},
  'leaky_relu': _stateless(jax.nn.leaky_relu),
  'identity': _stateless(lambda x: x),
  'concatenate': _stateless(lambda *xs: jnp.concatenate(xs, axis=-1)),
  'add': _stateless(lambda x, y: x + y),
  'multiply': _stateless(lambda x, y: x * y),
}
