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

from egan_jax.backbones.convolution import Convolution, DepthwiseConvolution


def _stateless(function: Callable) -> Callable:
  """Adapts a function of arrays and attributes to the ops' signature."""

  @functools.wraps(function)
  def op(*inputs, name, train, **attributes):
    del name, train
    return function(*inputs, **attributes)

  return op


def convolution(x, *, name, train, **attributes):
  """Keras `Conv2D`: parameters `kernel` `[h, w, in, out]` and maybe `bias`."""
  del train
  return Convolution(name=name, **attributes)(x)


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


def dropout(x, *, name, train, rate):
  """Keras `Dropout`; draws from the `dropout` rng in training."""
  return nn.Dropout(rate, name=name)(x, deterministic=not train)


def zero_padding(x, *, padding):
  """Keras `ZeroPadding2D`; `padding` is ((top, bottom), (left, right))."""
  return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def max_pool(x, *, size, strides, padding='VALID'):
  """Keras `MaxPooling2D`."""
  return nn.max_pool(x, (size, size), (strides, strides), padding)


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
  'zero_padding': _stateless(zero_padding),
  'max_pool': _stateless(max_pool),
  'average_pool': _stateless(average_pool),
  'relu': _stateless(jax.nn.relu),
  'relu6': _stateless(jax.nn.relu6),
  'leaky_relu': _stateless(jax.nn.leaky_relu),
  'concatenate': _stateless(lambda *xs: jnp.concatenate(xs, axis=-1)),
  'add': _stateless(lambda x, y: x + y),
}
