"""Features of the images that few_images needs, computed once and kept in a folder.

  python -m experiments.few_images.features --features_dir=DIR --data_dir=TFDS \
    --xray_dir=CHEST_XRAY

Chunks of 250 images are files of their own, so a stopped command goes on where it
was. Of the CIFAR-10 minority only the first 2,000 training images of a fixed order
are there: 20 draws of 100. Every image is there as it is and mirrored.
"""

import functools
from pathlib import Path

from absl import flags

from egan_jax import command_line, feature_extractor
from experiments.few_images import store

BACKBONES = ['EfficientNetLite0', 'EfficientNetLite1', 'EfficientNetLite2']
# (data set, class, split): CIFAR's labels, or folders of the X-rays.
CIFAR10_CARS = [('cifar10', c, s) for s in ('test', 'train') for c in (0, 1)]
CIFAR10_PETS = [('cifar10', c, s) for s in ('test', 'train') for c in (2, 3)]
CIFAR100 = [('cifar100', c, s) for s in ('test', 'train') for c in range(5)]
XRAY = [('xray', c, s) for s in ('test', 'train') for c in ('NORMAL', 'PNEUMONIA')]
EVERYTHING = [*CIFAR100, *CIFAR10_CARS, *CIFAR10_PETS, *XRAY]

_FEATURES_DIR = flags.DEFINE_string('features_dir', '', 'Where features are kept.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'The TFDS data folder.')
_XRAY_DIR = flags.DEFINE_string('xray_dir', '', 'Holds train/NORMAL and so on.')
_BACKBONES = flags.DEFINE_list('backbones', BACKBONES, 'In this order.')
_SIZES = flags.DEFINE_list('sizes', ['224', '96', '32'], 'In pixels, in this order.')
_MIRRORED = flags.DEFINE_bool('mirrored', True, 'Whether mirror images, too.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'Images per batch.')


def main() -> None:
  folder, batch_size = Path(_FEATURES_DIR.value), _BATCH_SIZE.value
  sources = store.Sources(_DATA_DIR.value, _XRAY_DIR.value)
  for size in map(int, _SIZES.value):
    for name in _BACKBONES.value:
      made = feature_extractor.make((name,), 'imagenet', size, 'imagenet')
      for flipped in (False, True)[: 1 + _MIRRORED.value]:
        for which in EVERYTHING:
          images_of = functools.partial(sources.images, *which, size)
          stem = store.stem_of(*which, name, size, flipped)
          store.extract(folder, stem, images_of, made, batch_size, flipped)


if __name__ == '__main__':
  command_line.run(main, required=(_FEATURES_DIR,))
