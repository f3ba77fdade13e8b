"""What a run can be told: every field with its default, and their checks.

The files in `configs/` start from `default()` and change what their experiment
needs. Below `train.py` nothing knows of configs.
"""

import math
from collections.abc import Mapping
from typing import Any

import ml_collections

from egan_jax import backbones
from egan_jax.data import sources
from egan_jax.errors import UserError


def default() -> ml_collections.ConfigDict:
  """The paper's settings on CIFAR-10 at 1:500 (sections 3 and 4)."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  config.dataset = 'cifar10'  # 'cifar10', 'cifar100' or 'digits'
  config.data_dir = ''  # TFDS data folder; empty: TFDS's default
  config.minority_class = 0  # label of the rare class
  config.majority_class = 1  # label of the ordinary class
  config.num_minority = 10  # minority images per fold, all of them in every step
  config.num_majority = 5000  # majority images, the same in every fold
  config.num_folds = 5  # disjoint draws of the minority, one training each

  config.num_epochs = 100
  config.batch_size = 128  # majority images per step
  config.learning_rate = 1e-4  # of Adam, both networks
  config.dropout_rate = 0.2  # before the discriminator's last unit
  config.checkpoint_every = 10  # epochs
  config.trunk_dtype = 'float32'  # of the frozen convolutions; or 'bfloat16'
  config.images_at_once = 512  # generated 32 px images in the trunk: bounds memory
  config.activation_memory_share = 0.25  # of available RAM; the rest goes to disk
  config.majority_devices = 1  # devices that share each batch of a fold

  config.generator_backbone = 'DenseNet121'
  config.discriminator_backbone = 'DenseNet121'
  config.generator_weights = 'imagenet'  # 'imagenet', 'none' or a path
  config.discriminator_weights = 'imagenet'
  config.fine_tune_layers = 5  # how many of a backbone's last layers train
  config.image_size = 32  # side of the images the backbones see, in pixels
  config.preprocess = 'scale'  # 'scale' (1/255, the authors') or 'imagenet'
  config.head_activation = 'linear'  # 'sigmoid' is the authors' slip of Fig. 5

  config.nash_threshold = 20  # |correct minority - correct majority| at most this
  config.stop_at_nash = False  # reads test labels: an oracle's choice
  return config


_CHOICES = {
  'dataset': sources.DATASETS,
  'preprocess': ('scale', 'imagenet'),
  'head_activation': ('linear', 'sigmoid'),
  'trunk_dtype': ('float32', 'bfloat16'),
}
_AT_LEAST_ONE = (
  'num_minority',
  'num_majority',
  'num_folds',
  'num_epochs',
  'batch_size',
  'checkpoint_every',
  'images_at_once',
  'majority_devices',
  'image_size',
)


def check(config: Mapping[str, Any]) -> None:
  """Raises `UserError` for a config that cannot be meant."""
  fields = set(default())
  given = set(config)
  if fields != given:
    missing = sorted(fields - given)
    unknown = sorted(given - fields)
    raise UserError(f'config: unknown fields {unknown}, missing fields {missing}')
  for field, choices in _CHOICES.items():
    if config[field] not in choices:
      raise UserError(
        f'config.{field}={config[field]!r}: choose one of {", ".join(choices)}'
      )
  backbones.get(config['generator_backbone'])
  discriminator = backbones.get(config['discriminator_backbone'])
  if discriminator.uses_batch_statistics:
    raise UserError(
      f'{discriminator.name} normalises by batch and cannot be the discriminator, whose'
      ' last batch is padded; SmallConvDiscriminator can'
    )
  for field in _AT_LEAST_ONE:
    if config[field] < 1:
      raise UserError(f'config.{field}={config[field]}: it must be at least 1')
  if config['batch_size'] % config['majority_devices']:
    raise UserError(
      f'config.batch_size={config["batch_size"]} cannot be split evenly over'
      f' config.majority_devices={config["majority_devices"]}'
    )
  if config['minority_class'] == config['majority_class']:
    raise UserError(
      f'config.minority_class and config.majority_class are both'
      f' {config["minority_class"]}: choose two classes'
    )
  if not 0 < config['learning_rate'] < math.inf:
    raise UserError('config.learning_rate must be positive and finite')
  if not 0 <= config['dropout_rate'] < 1:
    raise UserError('config.dropout_rate must be in [0, 1)')
  if not 0 <= config['activation_memory_share'] <= 1:
    raise UserError('config.activation_memory_share must be in [0, 1]')
  if not 0 <= config['seed'] < 2**32:  # JAX drops higher bits
    raise UserError('config.seed must be in [0, 2**32)')
  if config['nash_threshold'] < 0:
    raise UserError('config.nash_threshold must not be negative')
