"""The cells of the paper's tables: which images, which networks, how long."""

import dataclasses

import ml_collections

from configs import chexpert as chexpert_config
from configs import cifar10, cifar100
from egan_jax import backbones
from egan_jax import config as egan_config
from egan_jax.data import chexpert
from egan_jax.errors import UserError

FIVE_FOLDS = 5
BACKBONE = 'EfficientNetLite0'  # of both networks, but where it says otherwise
# Pixels and preprocessing that every pair is wanted at: the authors', and one at which
# an ImageNet backbone sees something.
INPUTS = ((32, 'scale'), (96, 'imagenet'))


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two classes of a data set.

  Attributes:
    dataset: as of `config.dataset`.
    minority_class: of the config, likewise `majority_class`.
    majority_class: see there.
    title: for a reader.
    sizes: by ratio, training minority and majority images and folds.
    nash_threshold: of the config, for the size of the test set.
  """

  dataset: str
  minority_class: int | str
  majority_class: int | str
  title: str
  sizes: dict[str, tuple[int, int, int]]
  nash_threshold: int = 20


_CIFAR10_SIZES = {ratio: (*sizes, FIVE_FOLDS) for ratio, sizes in cifar10.SIZES.items()}

PAIRS = {
  'cifar10_0_1': Pair(
    'cifar10', 0, 1, 'CIFAR-10 airplane / automobile', _CIFAR10_SIZES
  ),
  'cifar10_2_3': Pair('cifar10', 2, 3, 'CIFAR-10 bird / cat', _CIFAR10_SIZES),
  'cifar100_0_1': Pair(
    'cifar100', 0, 1, 'CIFAR-100 classes 0 / 1', cifar100.SIZES, nash_threshold=5
  ),
  'chexpert': Pair(
    'chexpert',
    1,
    0,
    'CheXpert pneumonia / no pneumonia',
    {'36': (*chexpert_config.SIZES, FIVE_FOLDS)},
  ),
  'chest_xray': Pair(
    'folder',
    'PNEUMONIA',
    'NORMAL',
    'chest X-ray pneumonia / normal',
    {'36': (*chexpert_config.SIZES, FIVE_FOLDS)},
  ),
}


def choose_chest_pair(data_dir: str) -> str:
  """Of Table 6: CheXpert where TFDS wants it, else the public chest X-ray folders."""
  return 'chexpert' if chexpert.is_there(data_dir) else 'chest_xray'


@dataclasses.dataclass(frozen=True)
class Cell:
  """One setting of a table, for any seed.

  Attributes:
    pair: a key of `PAIRS`.
    ratio: a key of the pair's sizes, majority images to one of the minority.
    backbones: the discriminator's, then the generator's.
    image_size: side of the images the backbones see, in pixels.
    preprocess: 'scale' or 'imagenet'.
    num_epochs: of each game.
  """

  pair: str
  ratio: str
  backbones: tuple[str, str]
  image_size: int = 32
  preprocess: str = 'scale'
  num_epochs: int = 100

  def __post_init__(self):
    if self.pair not in PAIRS:
      raise UserError(f'unknown pair {self.pair!r}: choose one of {", ".join(PAIRS)}')
    if self.ratio not in PAIRS[self.pair].sizes:
      choices = ', '.join(PAIRS[self.pair].sizes)
      raise UserError(f'{self.pair} has no ratio {self.ratio!r}: choose of {choices}')
    for backbone in self.backbones:
      backbones.get(backbone)  # a UserError if there is none

  @property
  def name(self) -> str:
    """Of the cell in results and, with a seed, of its workdir."""
    networks = '-'.join(dict.fromkeys(self.backbones))
    return (
      f'{self.pair}_{self.ratio}_{networks}_{self.image_size}_{self.preprocess}'
      f'_{self.num_epochs}'
    )

  def workdir_name(self, seed: int) -> str:
    """Of the workdir of one seed."""
    return f'{self.name}_seed{seed}'


def describe(cell: Cell) -> dict:
  """The settings of a cell as they are stored, with what makes its numbers again."""
  pair = PAIRS[cell.pair]
  return {
    'pair': cell.pair,
    'title': pair.title,
    'ratio': cell.ratio,
    'sizes': list(pair.sizes[cell.ratio]),
    'backbones': list(cell.backbones),
    'image_size': cell.image_size,
    'preprocess': cell.preprocess,
    'num_epochs': cell.num_epochs,
    'command': describe_command(cell),
  }


def make_config(cell: Cell, seed: int, data_dir: str) -> ml_collections.ConfigDict:
  """The config of one run of a cell: the game, judged by the paper's cut."""
  pair = PAIRS[cell.pair]
  config = egan_config.default()
  config.seed = seed
  config.data_dir = data_dir
  config.dataset = pair.dataset
  config.minority_class, config.majority_class = (
    pair.minority_class,
    pair.majority_class,
  )
  config.num_minority, config.num_majority, config.num_folds = pair.sizes[cell.ratio]
  config.nash_threshold = pair.nash_threshold
  config.discriminator_backbone, config.generator_backbone = cell.backbones
  config.image_size = cell.image_size
  config.preprocess = cell.preprocess
  config.num_epochs = cell.num_epochs
  return config


def describe_command(cell: Cell) -> str:
  """What makes the cell's numbers again, but for its seeds."""
  table = 6 if cell.pair in ('chexpert', 'chest_xray') else 5
  networks = f' --backbone={cell.backbones[0]}'
  if len({*cell.backbones}) > 1:
    table, networks = 3, ''
  return (
    f'python -m experiments.tables --table={table} --pairs={cell.pair}'
    f' --ratios={cell.ratio}{networks}'
    f' --image_size={cell.image_size} --preprocess={cell.preprocess}'
    f' --num_epochs={cell.num_epochs} --data_dir=DATA_DIR --runs=DIR'
  )
