"""The peer's networks: the generator and the discriminator of the paper in Keras.

A weights file holds the variables of both as egan_jax has them, of one fold:

  variables = {
    name: {
      'trunk': player.trunk.variables,
      'params': network.params,
      'batch_stats': network.batch_stats,
    }
    for name, player, network in [
      ('generator', generator_player, state.generator),
      ('discriminator', discriminator_player, state.discriminator),
    ]
  }
  np.savez(path, **flax.traverse_util.flatten_dict(variables, sep='/'))

The first part of a key is the network, the last two are layer and variable:
`generator/trunk/params/conv1_conv/kernel`, `generator/params/latent/kernel`,
`generator/batch_stats/decoder/batch_norm_1/mean`,
`discriminator/params/backbone/bn/scale`, `discriminator/params/score/bias`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

# What egan_jax calls otherwise than Keras; `bias` is that of other layers as well.
_BATCH_NORM_NAMES = {
  'scale': 'gamma',
  'bias': 'beta',
  'mean': 'moving_mean',
  'var': 'moving_variance',
}


def build_backbone(name: str, image_size: int, fine_tune_layers: int) -> keras.Model:
  """A model of `keras.applications` without top, of which the last layers train."""
  build = getattr(keras.applications, name)
  backbone = build(
    include_top=False, weights=None, input_shape=(image_size, image_size, 3)
  )
  for layer in backbone.layers[: len(backbone.layers) - fine_tune_layers]:
    layer.trainable = False
  return backbone


class Network(keras.Model):
  """A backbone in inference mode, and layers that are not.

  Keras 3 overwrites the `training=False` of a functional model's layers with what
  the model is called with; hence a model of its own kind.
  """

  def __init__(
    self, name: str, backbone: keras.Model, head: Iterable[keras.layers.Layer]
  ):
    super().__init__(name=name)
    self.backbone = backbone
    self.head = keras.Sequential([keras.Input(backbone.output_shape[1:]), *head])

  def call(self, images: Any, training: bool = False) -> Any:
    """Images `[B, S, S, 3]` in [0, 1] to whatever the head makes of them."""
    return self.head(self.backbone(images, training=False), training=training)


def build_generator(backbone: keras.Model) -> Network:
  """From minority images to generated ones `[B, 32, 32, 3]` in [0, 1]."""
  layers = keras.layers
  head = [
    layers.GlobalAveragePooling2D(),
    layers.Dense(128, name='latent'),
    layers.Dense(2048, name='dense'),
    layers.LeakyReLU(0.2),
    layers.Reshape((8, 8, 32)),
    layers.Conv2DTranspose(64, 3, strides=2, padding='same', name='conv_transpose_1'),
    layers.BatchNormalization(name='batch_norm_1'),
    layers.LeakyReLU(0.2),
    layers.Conv2DTranspose(3, 3, strides=2, padding='same', name='conv_transpose_2'),
    layers.BatchNormalization(name='batch_norm_2'),
    layers.Activation('sigmoid'),
  ]
  return Network('generator', backbone, head)


def build_discriminator(backbone: keras.Model, dropout_rate: float) -> Network:
  """From images to scores `[B, 1]`, logits."""
  head = [
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dropout(dropout_rate),
    keras.layers.Dense(1, name='score'),
  ]
  return Network('discriminator', backbone, head)


def set_weights(model: Network, values: Mapping[str, np.ndarray]) -> None:
  """Sets every variable of a network exactly once.

  Args:
    model: generator or discriminator.
    values: arrays by key of a weights file, only those of this network.

  Raises:
    ValueError: a variable is missing, superfluous, given twice or of another shape.
  """
  layers = {layer.name: layer for layer in [*model.backbone.layers, *model.head.layers]}
  variables = {
    (layer.name, variable.name): variable
    for layer in layers.values()
    for variable in layer.weights
  }
  for key, value in values.items():
    layer, name = key.split('/')[-2:]
    if isinstance(layers.get(layer), keras.layers.BatchNormalization):
      name = _BATCH_NORM_NAMES.get(name, name)
    if (layer, name) not in variables:
      raise ValueError(f'{key} is no variable of the {model.name}, or comes twice')
    variable = variables.pop((layer, name))
    if variable.shape != value.shape:
      raise ValueError(f'{key} is {value.shape} and should be {variable.shape}')
    variable.assign(value)
  if variables:
    raise ValueError(f'the {model.name} has nothing for {sorted(variables)}')
