"""Images of the few-image experiments, and the features that few_images.features keeps."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from egan_jax import feature_extractor
from egan_jax.feature_extractor import FeatureExtractor

CHUNK = 250
MINORITY = 2000
# To choose constants on; of the tables' pairs CIFAR-100 0/1 is among them. Of each data
# set: pairs of a minority and a majority, and majority images to fit.
STAND_INS = {
  'cifar100': (tuple(itertools.permutations(range(5), 2)), 300),
  'cifar10': (((0, 3), (1, 3), (2, 1), (3, 1)), 4000),
}
# Of CIFAR-100 classes, minority and majority: those of the search for constants.
SEARCHED = ((3, 4), (4, 3), (2, 3), (1, 4), (3, 2), (4, 1))


def order(count: int) -> np.ndarray:
  """The order in which the images of a class are drawn, always the same."""
  return np.random.default_rng(0).permutation(count)


def is_cut(dataset: str, label: str | int, split: str) -> bool:
  """Whether only the first `MINORITY` images in the order of drawing are there."""
  return split == 'train' and (dataset, label) in (('cifar10', 0), ('cifar10', 2))


def arrange(of_class: np.ndarray, dataset: str, label: str | int) -> np.ndarray:
  """A class of training images in the order of drawing; some are already in it."""
  if dataset == 'xray' or is_cut(dataset, label, 'train'):
    return of_class
  return of_class[order(len(of_class))]


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
    raise FileNotFoundError(
      f'{stem} is not in {folder}: run python -m experiments.few_images.features'
    )
  paths = (Path(folder) / f'{stem}-{chunk}.npy' for chunk in itertools.count())
  return np.concatenate([np.load(p) for p in itertools.takewhile(Path.exists, paths)])


def extract(
  folder: Path,
  stem: str,
  images_of: Callable[[], np.ndarray | None],
  extractor: FeatureExtractor,
  batch_size: int,
  flipped: bool = False,
) -> None:
  """Computes and keeps what is missing of a class; prints chunks as they come.

  Args:
    folder: where `load` looks.
    stem: of the class, as of `stem_of`.
    images_of: reads the images of the class; None where they are not at hand.
    extractor: makes the features.
    batch_size: images per batch.
    flipped: whether mirror images are seen.
  """
  if (folder / f'{stem}-done').exists():
    return
  images = images_of()
  if images is None:
    return
  if flipped:
    images = images[:, :, ::-1]
  folder.mkdir(parents=True, exist_ok=True)
  for chunk, start in enumerate(range(0, len(images), CHUNK)):
    path = folder / f'{stem}-{chunk}.npy'
    if not path.exists():
      features = feature_extractor.run(
        extractor, images[start : start + CHUNK], batch_size
      )
      partial = path.with_suffix('.partial')
      with partial.open('wb') as file:
        np.save(file, features)
      partial.rename(path)
      print(path.stem, flush=True)
  (folder / f'{stem}-done').touch()


def stem_of(dataset, label, split, name, size, flipped) -> str:
  flip = '-flipped' if flipped else ''
  return f'{dataset}-{label}-{split}-{name}-{size}{flip}'


class Sources:
  """The images of a class of a data set; each data set is read once."""

  def __init__(self, data_dir: str, xray_dir: str):
    self._data_dir, self._xray_dir = data_dir, xray_dir
    self._read: dict[tuple, dict[int, list[np.ndarray]]] = {}

  def images(
    self, dataset: str, label: str | int, split: str, size: int
  ) -> np.ndarray | None:
    """uint8 `[N, H, W, 3]`, or None without the folder of the X-rays."""
    if dataset == 'xray':
      return self._xrays(label, split, size) if self._xray_dir else None
    if (dataset, split) not in self._read:
      self._read[dataset, split] = self._cifar(dataset, split)
    images = np.stack(self._read[dataset, split][label])
    if is_cut(dataset, label, split):
      images = images[order(len(images))[:MINORITY]]
    return images

  def _cifar(self, dataset, split) -> dict[int, list[np.ndarray]]:
    import tensorflow_datasets as tfds

    builder = tfds.builder(
      dataset, data_dir=self._data_dir or None, file_format='array_record'
    )
    decoders = {'image': tfds.decode.SkipDecoding()}
    images = {}
    for example in builder.as_data_source(split=split, decoders=decoders):
      if example['label'] < 5:
        image = np.asarray(Image.open(io.BytesIO(example['image'])))
        images.setdefault(int(example['label']), []).append(image)
    return images

  def _xrays(self, label, split, size) -> np.ndarray:
    paths = sorted((Path(self._xray_dir) / split / label).iterdir())
    paths = [paths[i] for i in order(len(paths))]
    if split == 'train':
      paths = paths[: 1080 if label == 'NORMAL' else 600]
    return np.stack([_decode(path, size) for path in paths])


def _decode(path: Path, size: int) -> np.ndarray:
  with Image.open(path) as image:
    squashed = image.convert('RGB').resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(squashed)
