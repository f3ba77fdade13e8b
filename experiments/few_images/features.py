"""Features of the images that few_images needs, computed once and kept in a folder.

  python -m experiments.few_images.features --features_dir=DIR --data_dir=TFDS \
    --xray_dir=CHEST_XRAY

Chunks of 250 images are files of their own, so a stopped command goes on where it
was. Of the CIFAR-10 minority only the first 2,000 training images of a fixed order
are there: 20 draws of 100. Every image is there as it is and mirrored.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from egan_jax import feature_extractor
from egan_jax.feature_extractor import FeatureExtractor
from experiments.egan_ablation import boundary_activations
from experiments.few_images.store import CHUNK, Sources, stem_of

BACKBONES = ['EfficientNetLite0', 'EfficientNetLite1', 'EfficientNetLite2']
# (data set, class, split): CIFAR's labels, or folders of the X-rays.
CIFAR10_CARS = [('cifar10', c, s) for s in ('test', 'train') for c in (0, 1)]
CIFAR10_PETS = [('cifar10', c, s) for s in ('test', 'train') for c in (2, 3)]
CIFAR100 = [('cifar100', c, s) for s in ('test', 'train') for c in range(5)]
XRAY = [('xray', c, s) for s in ('test', 'train') for c in ('NORMAL', 'PNEUMONIA')]
EVERYTHING = [*CIFAR100, *CIFAR10_CARS, *CIFAR10_PETS, *XRAY]

_FEATURES_DIR = flags.DEFINE_string('features_dir', None, 'Where features are kept.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'The TFDS data folder.')
_XRAY_DIR = flags.DEFINE_string('xray_dir', '', 'Holds train/NORMAL and so on.')
_BACKBONES = flags.DEFINE_list('backbones', BACKBONES, 'In this order.')
_SIZES = flags.DEFINE_list('sizes', ['224', '96', '32'], 'In pixels, in this order.')
_MIRRORED = flags.DEFINE_bool('mirrored', True, 'Whether mirror images, too.')
_BOUNDARY = flags.DEFINE_bool(
  'boundary', False, 'Only the boundary activations of egan_ablation.'
)
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'Images per batch.')


def extract(
  folder: Path,
  which: tuple[str, str | int, str],
  name: str,
  size: int,
  flipped: bool,
  images_of: Callable[[], np.ndarray | None],
  made: FeatureExtractor,
) -> Iterator[str]:
  """Computes what is missing of a class; yields the stems of chunks as they come."""
  stem = stem_of(*which, name, size, flipped)
  if (folder / f'{stem}-done').exists():
    return
  images = images_of()
  if images is None:
    return
  if flipped:
    images = images[:, :, ::-1]
  for chunk, start in enumerate(range(0, len(images), CHUNK)):
    path = folder / f'{stem}-{chunk}.npy'
    if not path.exists():
      features = feature_extractor.run(
        made, images[start : start + CHUNK], _BATCH_SIZE.value
      )
      partial = path.with_suffix('.partial')
      with partial.open('wb') as file:
        np.save(file, features)
      partial.rename(path)
      yield path.stem
  (folder / f'{stem}-done').touch()


def main(_: list[str]) -> None:
  folder = Path(_FEATURES_DIR.value)
  folder.mkdir(parents=True, exist_ok=True)
  sources = Sources(_DATA_DIR.value, _XRAY_DIR.value)
  if _BOUNDARY.value:
    _extract_boundary(folder, sources)
    return
  for size in map(int, _SIZES.value):
    for name in _BACKBONES.value:
      made = feature_extractor.make((name,), 'imagenet', size, 'imagenet')
      for flipped in (False, True)[: 1 + _MIRRORED.value]:
        for which in EVERYTHING:
          for stem in extract(
            folder,
            which,
            name,
            size,
            flipped,
            lambda which=which, size=size: sources.images(*which, size),
            made,
          ):
            print(stem, flush=True)


def _extract_boundary(folder: Path, sources: Sources) -> None:
  name, size = boundary_activations.STORED_AS, boundary_activations.SIZE
  made = boundary_activations.make_extractor()
  for which in boundary_activations.CLASSES:
    images_of = functools.partial(sources.images, *which, size)
    for stem in extract(folder, which, name, size, False, images_of, made):
      print(stem, flush=True)


if __name__ == '__main__':
  flags.mark_flag_as_required('features_dir')
  app.run(main)
