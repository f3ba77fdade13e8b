"""What each stage of a run is told: a config, in parts and with types."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from egan_jax.evaluation import threshold_rule
from egan_jax.evaluation.threshold_rule import ThresholdRule

_Stage = TypeVar('_Stage')


@dataclasses.dataclass(frozen=True)
class DataSettings:
  """Which images a run uses; fields as of `config.default`.

  Attributes:
    dataset: one of `sources.DATASETS`.
    data_dir: where it is.
    minority_class: its label, or of a folder its name or ''.
    majority_class: likewise.
    strict: whether a single unreadable file of a folder stops the run.
    num_minority: images per fold; 0: all there are.
    num_majority: images, the same in every fold; 0: all there are.
    num_folds: disjoint draws of the minority.
    num_seeds: how often all folds are drawn, with seeds from `seed` on.
    seed: of the draws.
  """

  dataset: str
  data_dir: str
  minority_class: int | str
  majority_class: int | str
  strict: bool
  num_minority: int
  num_majority: int
  num_folds: int
  num_seeds: int
  seed: int


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
  """What the two players are made of; fields as of `config.default`.

  Attributes:
    generator_backbone: its name.
    discriminator_backbone: its name.
    generator_weights: 'imagenet', a path, or 'none' for random ones.
    discriminator_weights: likewise.
    fine_tune_layers: how many of a backbone's last layers train.
    preprocess: 'scale' or 'imagenet'.
    image_size: side of the images the backbones see, in pixels.
    trunk_dtype: of the frozen convolutions, 'float32' or 'bfloat16'.
    seed: of random weights.
  """

  generator_backbone: str
  discriminator_backbone: str
  generator_weights: str
  discriminator_weights: str
  fine_tune_layers: int
  preprocess: str
  image_size: int
  trunk_dtype: str
  seed: int


@dataclasses.dataclass(frozen=True)
class GameSettings:
  """How a game is played; fields as of `config.default`.

  Attributes:
    num_epochs: at most.
    batch_size: majority images per step and fold.
    learning_rate: of Adam, both networks.
    dropout_rate: before the discriminator's last unit.
    head_activation: of that unit, 'linear' or 'sigmoid'.
    stop_at_nash: whether a fold stops at its first epoch at the Nash point: an oracle.
    nash_threshold: the most that correct counts of the classes differ by there.
    checkpoint_every: so many epochs.
    images_at_once: generated images of 32 px in a chunk; 0: as suits the device.
    majority_devices: that share each batch of a fold.
  """

  num_epochs: int
  batch_size: int
  learning_rate: float
  dropout_rate: float
  head_activation: str
  stop_at_nash: bool
  nash_threshold: int
  checkpoint_every: int
  images_at_once: int
  majority_devices: int


@dataclasses.dataclass(frozen=True)
class DecisionSettings:
  """Which method decides, and where it cuts; fields as of `config.default`.

  Attributes:
    method: 'egan', a rival's name, or 'auto': the best of the candidates.
    candidates: of 'auto': 'features', those that train nothing, or 'all'.
    rule: of the threshold.
    held_out_share: of the majority, for the threshold of a trained head, in (0, 1).
    feature_backbones: what methods that train nothing see with, joined by '+'; '' for
      the discriminator's.
    mirror_images: whether these see each image and its mirror image.
    seed: of held-out images and of fits.
  """

  method: str
  candidates: str
  rule: ThresholdRule
  held_out_share: float
  feature_backbones: str
  mirror_images: bool
  seed: int

  @property
  def plays(self) -> bool:
    """Whether the method is the game, or may be."""
    return self.method == 'egan' or (self.method == 'auto' and self.candidates == 'all')


@dataclasses.dataclass(frozen=True)
class Settings:
  """Of all stages.

  Attributes:
    data: which images are used.
    networks: what the players are made of; rivals see with the discriminator's.
    game: how it is played.
    decision: which method decides, and where it cuts.
  """

  data: DataSettings
  networks: NetworkSettings
  game: GameSettings
  decision: DecisionSettings


def from_config(config: Mapping[str, Any]) -> Settings:
  """The settings of a config, as of `config.default` and checked.

  Raises:
    UserError: as of `ThresholdRule`.
  """
  return Settings(
    _select(DataSettings, config),
    _select(NetworkSettings, config),
    _select(GameSettings, config),
    _select(DecisionSettings, config, rule=_make_rule(config)),
  )


def _select(kind: type[_Stage], config: Mapping[str, Any], **others: Any) -> _Stage:
  """The settings of a stage: the config's fields of the same names, and others."""
  names = {field.name for field in dataclasses.fields(kind)} - set(others)
  return kind(**{name: config[name] for name in names}, **others)


def _make_rule(config: Mapping[str, Any]) -> ThresholdRule:
  return threshold_rule.make_rule(
    config['threshold'],
    config['method'],
    specificity=config['target_specificity'],
    sensitivity=config['target_sensitivity'],
    cost_false_negative=config['cost_false_negative'],
    cost_false_positive=config['cost_false_positive'],
    prior=config['prior'],
  )
