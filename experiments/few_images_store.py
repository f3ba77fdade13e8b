"""Where few_images_features keeps features, and how the experiments read them."""

import itertools
from pathlib import Path

import numpy as np

CHUNK = 250
MINORITY = 2000


def order(count: int) -> np.ndarray:
  """The order in which the images of a class are drawn, always the same."""
  return np.random.default_rng(0).permutation(count)


def is_cut(dataset: str, label: str | int, split: str) -> bool:
  """Whether only the first `MINORITY` images in the order of drawing are there."""
  return split == 'train' and (dataset, label) in (('cifar10', 0), ('cifar10', 2))


def load(
  folder: str | Path,
  dataset: str,
  label: str | int,
  split: str,
  name: str,
  size: int,
  flipped: bool = False,
) -> np.ndarray:
  """Features float32 `[N, C]` of a class: images in the order of the data set.

  Of the classes of which only some are there, in the order of drawing.

  Raises:
    FileNotFoundError: this class was not extracted to its end.
  """
  stem = stem_of(dataset, label, split, name, size, flipped)
  if not (Path(folder) / f'{stem}-done').exists():
    raise FileNotFoundError(f'{stem} is not in {folder}: run few_images_features')
  paths = (Path(folder) / f'{stem}-{chunk}.npy' for chunk in itertools.count())
  return np.concatenate([np.load(p) for p in itertools.takewhile(Path.exists, paths)])


def stem_of(dataset, label, split, name, size, flipped) -> str:
  flip = '-flipped' if flipped else ''
  return f'{dataset}-{label}-{split}-{name}-{size}{flip}'
