"""What a run can be told: every field with its default, and their checks.

The files in `configs/` start from `default()` and change what their experiment
needs. Below `train.py` no stage of a run knows of configs, but for the page that repeats
its command.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from egan_jax import backbones, checks, feature_extractor, rivals
from egan_jax.data import sources
from egan_jax.errors import UserError


def default() -> ml_collections.ConfigDict:
  """The paper's settings on CIFAR-10 at 1:500 (sections 3 and 4)."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 1  # repeats all folds with seeds from `seed` on, side by side

  config.dataset = 'cifar10'  # or 'cifar100', 'chexpert', 'digits', 'folder'
  config.data_dir = ''  # TFDS data folder (empty: TFDS's default), or the user's own
  # Labels; of a folder, names, or '' for the rarer class and the other one.
  config.minority_class = ml_collections.FieldReference(0, field_type=object)
  config.majority_class = ml_collections.FieldReference(1, field_type=object)
  config.strict = False  # whether a single unreadable file of a folder stops the run
  config.num_minority = 10  # minority images per fold; 0: all there are
  config.num_majority = 5000  # majority images, the same in every fold; 0: all
  config.num_folds = 5  # disjoint draws of the minority, one training each

  config.method = 'egan'  # or a name of `rivals.names()`, or 'auto': the best of them
  config.candidates = 'features'  # of 'auto': those that train nothing, or 'all'
  config.threshold = 'default'  # of the method, or one of `thresholds`' rules
  config.target_specificity = 0.95  # share of the majority to be called majority
  config.target_sensitivity = 0.9  # share of the minority to be called minority
  config.cost_false_negative = 1.0  # of a minority image called majority
  config.cost_false_positive = 1.0  # of a majority image called minority
  config.prior = 0.5  # share of the minority where decisions are made
  config.held_out_share = 0.2  # of the majority, for the threshold of a trained head

  config.num_epochs = 100
  config.batch_size = 128  # majority images per step
  config.learning_rate = 1e-4  # of Adam, both networks
  config.dropout_rate = 0.2  # before the discriminator's last unit
  config.checkpoint_every = 10  # epochs
  config.trunk_dtype = 'float32'  # of the frozen convolutions; or 'bfloat16'
  config.images_at_once = 0  # generated 32 px images in a chunk; 0: as suits the device
  config.activation_memory_share = 0.25  # of available RAM; the rest goes to disk
  config.majority_devices = 1  # devices that share each batch of a fold

  config.generator_backbone = 'DenseNet121'
  config.discriminator_backbone = 'DenseNet121'
  config.generator_weights = 'imagenet'  # 'imagenet', 'none' or a path
  config.discriminator_weights = 'imagenet'
  # What methods that train nothing see with: one, or several joined by '+'; '' for the
  # discriminator's.
  config.feature_backbones = ''
  config.mirror_images = False  # whether they see each image and its mirror image
  config.fine_tune_layers = 5  # how many of a backbone's last layers train
  config.image_size = 32  # side of the images the backbones see, in pixels
  config.preprocess = 'scale'  # 'scale' (1/255, the authors') or 'imagenet'
  config.head_activation = 'linear'  # 'sigmoid' is the authors' slip of Fig. 5

  config.nash_threshold = 20  # |correct minority - correct majority| at most this
  config.stop_at_nash = False  # reads test labels: an oracle's choice
  return config


_CHOICES = {
  'dataset': sources.DATASETS,
  'method': ('egan', 'auto', *rivals.names()),
  'candidates': ('features', 'all'),
  'threshold': ('default', *rivals.RULES),
  'preprocess': ('scale', 'imagenet'),
  'head_activation': ('linear', 'sigmoid'),
  'trunk_dtype': ('float32', 'bfloat16'),
}
_SHARES = ('target_specificity', 'target_sensitivity', 'prior', 'held_out_share')
_AT_LEAST_ONE = (
  'num_seeds',
  'num_folds',
  'num_epochs',
  'batch_size',
  'checkpoint_every',
  'majority_devices',
  'image_size',
)

_MAX_IMAGE_SIZE = 4096  # backbones are made for 224 to 380


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
  backbones.get(config['generator_backbone']).check_generator()
  backbones.get(config['discriminator_backbone']).check_discriminator()
  if config['feature_backbones']:
    feature_extractor.split_names(config['feature_backbones'])
  for field in _AT_LEAST_ONE:
    checks.check_count(f'config.{field}', config[field])
  if config['image_size'] > _MAX_IMAGE_SIZE:
    raise UserError(
      f'config.image_size={config["image_size"]}: it must be at most {_MAX_IMAGE_SIZE}'
    )
  if config['batch_size'] % config['majority_devices']:
    raise UserError(
      f'config.batch_size={config["batch_size"]} cannot be split evenly over'
      f' config.majority_devices={config["majority_devices"]}'
    )
  for field in ('num_minority', 'num_majority', 'images_at_once'):
    if config[field] < 0:
      raise UserError(f'config.{field}={config[field]}: it must be at least 1, or 0')
  for field in _SHARES:
    checks.check_share(f'config.{field}', config[field])
  for field in ('cost_false_negative', 'cost_false_positive'):
    checks.check_cost(f'config.{field}', config[field])
  _check_classes(config)
  checks.check_learning_rate('config.learning_rate', config['learning_rate'])
  checks.check_dropout_rate('config.dropout_rate', config['dropout_rate'])
  if not 0 <= config['activation_memory_share'] <= 1:
    raise UserError('config.activation_memory_share must be in [0, 1]')
  # JAX drops higher bits.
  if not 0 <= config['seed'] <= 2**32 - config['num_seeds']:
    raise UserError('config.seed and all seeds of config.num_seeds: in [0, 2**32)')
  if config['nash_threshold'] < 0:
    raise UserError('config.nash_threshold must not be negative')


def _check_classes(config: Mapping[str, Any]) -> None:
  classes = config['minority_class'], config['majority_class']
  if config['dataset'] != 'folder':
    for field, label in zip(('minority_class', 'majority_class'), classes, strict=True):
      if not isinstance(label, int):
        raise UserError(
          f'config.{field}={label!r}: {config["dataset"]} has numbers for its classes'
        )
  if classes[0] == classes[1] and classes[0] != '':
    raise UserError(
      f'config.minority_class and config.majority_class are both {classes[0]}: choose'
      ' two classes'
    )
