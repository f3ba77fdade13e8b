"""The two players and their train states: what they are made of, and how."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.training import train_state

from egan_jax import freezing, pretrained
from egan_jax.backbones import Backbone, graph
from egan_jax.backbones.trunk import Trunk, cast_kernels
from egan_jax.models.discriminator import Discriminator
from egan_jax.models.generator import Generator

Variables = Mapping[str, Mapping[str, Any]]


class NetworkState(train_state.TrainState):
  """A network after the cut: parameters, optimiser state, batch-norm statistics."""

  batch_stats: Any

  def variables(self, params: Any = None) -> dict[str, Any]:
    """What its module takes: its own parameters, or those that are differentiated by."""
    params = self.params if params is None else params
    return {'params': params, 'batch_stats': self.batch_stats}


@struct.dataclass
class GameState:
  """Both networks. Every leaf gains a leading axis when folds are vmapped."""

  generator: NetworkState
  discriminator: NetworkState


@dataclasses.dataclass(frozen=True)
class Player:
  """A backbone cut in two, for one of the networks.

  Attributes:
    backbone: the whole backbone.
    fine_tune_layers: how many of its last layers train.
    trunk: the frozen layers before the cut, with their variables.
    head: the layers after the cut; their variables live in a `NetworkState`.
    pretrained: variables of the whole backbone, None where they are random.
    fingerprint: SHA-256 of the whole backbone's variables before training.
  """

  backbone: Backbone
  fine_tune_layers: int
  trunk: Trunk
  head: graph.LayerGraph
  pretrained: Variables | None = dataclasses.field(repr=False)  # as a trunk's
  fingerprint: str


def load_variables(
  backbone: Backbone,
  weights: str | os.PathLike,
  image_size: int,
  key: jax.Array,
  load: Callable[..., Variables] = pretrained.load,
) -> Variables:
  """Variables of a whole backbone; arguments as of `make_player`."""
  if weights == 'none':
    image = jnp.zeros((1, image_size, image_size, 3))
    return jax.jit(backbone.graph().init)(key, image)
  return load(backbone.name, None if weights == 'imagenet' else weights)


def make_player(
  backbone: Backbone,
  weights: str,
  fine_tune_layers: int,
  preprocess: str,
  image_size: int,
  key: jax.Array,
  cut: int | None = None,
  load: Callable[..., Variables] = pretrained.load,
  trunk_dtype: str = 'float32',
) -> Player:
  """Loads a backbone's weights and cuts it.

  Args:
    backbone: from `backbones.get`.
    weights: 'imagenet', a path, or 'none' for random ones.
    fine_tune_layers: how many of the last layers train. A backbone made for
      training from scratch trains whole, whatever this says.
    preprocess: 'scale' leaves images in [0, 1] as the authors did; 'imagenet' is
      what the backbone's ImageNet weights expect.
    image_size: side of the images the backbone sees, in pixels.
    key: rng key of random weights. Those of the trunk are shared by all folds.
    cut: index of the head's first layer; by default, and at most, the first that
      trains.
    load: loads weights; a cached one saves reading a file twice.
    trunk_dtype: of the frozen layers' convolutions, 'float32' or 'bfloat16'.

  Raises:
    UserError: no such weights, or too many layers to fine-tune.
    ValueError: the cut would leave layers to train in the frozen trunk.
  """
  num_layers = len(backbone.layers)
  if backbone.from_scratch:
    fine_tune_layers = num_layers
  first_trainable = freezing.first_trainable_layer(num_layers, fine_tune_layers)
  cut = first_trainable if cut is None else cut
  if cut > first_trainable:
    raise ValueError(f'cut {cut} is after layer {first_trainable}, which trains')
  variables = load_variables(backbone, weights, image_size, key, load)
  trunk, head = graph.split(backbone.layers, cut)
  return Player(
    backbone=backbone,
    fine_tune_layers=fine_tune_layers,
    trunk=Trunk(
      variables=cast_kernels(of_layers(variables, trunk.layers), trunk_dtype),
      graph=trunk,
      preprocessing=backbone.preprocessing if preprocess == 'imagenet' else 'none',
      image_size=image_size,
    ),
    head=head,
    pretrained=None if weights == 'none' else variables,
    fingerprint=pretrained.fingerprint(variables),
  )


def create_game_state(
  key: jax.Array,
  generator: Player,
  discriminator: Player,
  learning_rate: float,
  dropout_rate: float = 0.2,
  head_activation: str = 'linear',
) -> GameState:
  """Both networks before training; vmap over `key` for several folds.

  Args:
    key: rng key of all that is not pre-trained.
    generator: what the generator is made of.
    discriminator: what the discriminator is made of.
    learning_rate: of Adam, for both.
    dropout_rate: before the discriminator's last unit.
    head_activation: 'linear' or 'sigmoid', of the discriminator's last unit.
  """
  generator_key, discriminator_key = jax.random.split(key)
  return GameState(
    generator=_create_network_state(
      generator_key,
      Generator(generator.head, generator.backbone.pooling),
      generator,
      learning_rate,
    ),
    discriminator=_create_network_state(
      discriminator_key,
      Discriminator(
        discriminator.head,
        discriminator.backbone.pooling,
        dropout_rate,
        head_activation,
      ),
      discriminator,
      learning_rate,
    ),
  )


def count_parameters(network: NetworkState, player: Player) -> dict[str, int]:
  """`total` and `trainable` parameters of one fold's network, as Keras counts.

  Batch-norm statistics count towards the total.
  """
  labels = freezing.label_parameters(
    network.params, player.backbone.layers, player.fine_tune_layers
  )
  trainable = jax.tree.map(
    lambda label, leaf: leaf.size * (label == freezing.TRAINABLE),
    labels,
    network.params,
  )
  leaves = jax.tree.leaves((network.params, network.batch_stats, player.trunk))
  return {
    'total': sum(leaf.size for leaf in leaves),
    'trainable': sum(jax.tree.leaves(trainable)),
  }


def _create_network_state(
  key: jax.Array, module: nn.Module, player: Player, learning_rate: float
) -> NetworkState:
  size = player.trunk.image_size
  image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  boundary = jax.tree.map(
    lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(player.trunk, image)
  )
  variables = module.init(key, boundary)
  if player.pretrained is not None:
    head = of_layers(player.pretrained, player.head.layers)
    for collection, values in head.items():
      # Copies: a step that donates a state leaves the player, and the other state, whole.
      variables[collection]['backbone'] = jax.tree.map(jnp.array, values)
  params = variables['params']
  network = NetworkState.create(
    apply_fn=_apply_function(module),
    params=params,
    tx=_optimizer(learning_rate, player.backbone.layers, player.fine_tune_layers),
    batch_stats=variables.get('batch_stats', {}),
  )
  # Flax starts from a Python 0, whose weak type would make jit trace a second time.
  return network.replace(step=jnp.zeros((), jnp.int32))


# Compiled steps are bound to both of these. Kept, so that networks alike share them and
# the next fit compiles nothing.
@functools.cache
def _apply_function(module: nn.Module) -> Callable[..., Any]:
  return module.apply


@functools.cache
def _optimizer(
  learning_rate: float, layers: tuple[graph.Layer, ...], fine_tune_layers: int
) -> optax.GradientTransformation:
  label = functools.partial(
    freezing.label_parameters, layers=layers, fine_tune_layers=fine_tune_layers
  )
  return freezing.optimizer(learning_rate, label)


def of_layers(variables: Variables, layers: tuple[graph.Layer, ...]) -> dict:
  """The variables of some layers, without collections that come out empty."""
  names = [layer.name for layer in layers]
  chosen = {
    collection: {name: values[name] for name in names if name in values}
    for collection, values in variables.items()
  }
  return {collection: values for collection, values in chosen.items() if values}
