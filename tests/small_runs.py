"""What is small enough to run in a test: a network, and a game of digits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from egan_jax import backbones, run_files
from egan_jax import config as egan_config
from egan_jax.backbones import Backbone
from egan_jax.backbones.graph import LayerTable
from egan_jax.state import Player, make_player

# Fields of a config: 3 images of the digit 8 against 20 of the digit 3 in every fold.
GAME = dict(
  dataset='digits',
  minority_class=8,
  majority_class=3,
  num_minority=3,
  num_majority=20,
  num_folds=2,
  num_epochs=2,
  batch_size=8,
  learning_rate=1e-3,
  checkpoint_every=2,
  image_size=16,
  fine_tune_layers=4,
  generator_backbone='Tiny',
  discriminator_backbone='Tiny',
  generator_weights='none',
  discriminator_weights='none',
)

# Fields of the shortest run there is, of Fig. 5's networks.
FROM_SCRATCH = dict(
  num_majority=16,
  num_folds=1,
  num_epochs=1,
  batch_size=16,
  image_size=8,
  generator_backbone='SmallConvEncoder',
  discriminator_backbone='SmallConvDiscriminator',
  generator_weights='none',
  discriminator_weights='none',
)


def make_config(**changes) -> ConfigDict:
  """The config of a small game; whoever runs it registers the tiny backbone."""
  config = egan_config.default()
  config.update({**GAME, **changes})
  return config


def read_records(workdir) -> list[dict]:
  """The metrics of every fold and epoch of a run."""
  return run_files.read_records(workdir / 'metrics.jsonl')


def read_scores(workdir) -> dict[str, np.ndarray]:
  """What a run left in scores.npz."""
  with np.load(workdir / 'scores.npz') as file:
    return dict(file)


def make_tiny_player(variables, **options) -> Player:
  """Of the tiny backbone with these variables: concat, conv3, bn3 and relu3 train."""
  return make_player(
    make_tiny_backbone(),
    'imagenet',
    fine_tune_layers=4,
    preprocess='scale',
    image_size=16,
    key=jax.random.key(0),
    load=lambda name, path: variables,
    **options,
  )


@functools.cache
def make_tiny_backbone() -> Backbone:
  """Of 13 layers: every kind of frozen variable, and a branch across cuts."""
  table = LayerTable()
  table.add('conv1', 'convolution', features=8, size=3, strides=2, padding='SAME')
  table.add('bn1', 'batch_norm', epsilon=1e-3)
  branch = table.add('relu1', 'relu')
  table.add('pool1', 'max_pool', size=2, strides=2)
  table.add('conv2', 'convolution', features=8, size=3, padding='SAME')
  table.add('bn2', 'batch_norm', epsilon=1e-3)
  pooled = table.add('relu2', 'relu')
  table.add('pool2', 'max_pool', branch, size=2, strides=2)
  table.add('concat', 'concatenate', pooled, 'pool2')
  table.add('conv3', 'convolution', features=12, size=1)
  table.add('bn3', 'batch_norm', epsilon=1e-3)
  table.add('relu3', 'relu')
  return Backbone('Tiny', table.layers, preprocessing='none')


@functools.cache
def trace_shapes(name: str):
  """Shapes of a backbone's variables; nothing is compiled."""
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  return jax.eval_shape(backbones.create(name).init, jax.random.key(0), image)


@functools.cache
def load_zeros(name: str, path: str | None):
  """In place of `pretrained.load`: right shapes, without reading or computing any."""
  return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), trace_shapes(name))
