"""Boundary activations for the versions of experiments.egan_ablation that make such.

  python -m experiments.egan_ablation.boundary_activations --features_dir=DIR \
    --data_dir=TFDS

EfficientNet-Lite0 at 224 px, cut before the last convolution that the pooled features
come from. Only those of minority images are needed; the command keeps them beside the
features of few_images.
"""

import functools
from pathlib import Path

import jax
import numpy as np
from absl import flags

from egan_jax import backbones, command_line, state
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.models.pooling import pool
from experiments.egan_ablation.games import Top
from experiments.few_images import store

_BACKBONE = 'EfficientNetLite0'
SIZE = 224
_LAST_LAYERS = 3  # the last convolution, its batch norm and its activation
STORED_AS = f'{_BACKBONE}-before-last-{_LAST_LAYERS}'
# The minority classes of the search for settings and of the tables.
CLASSES = tuple(
  (dataset, label, 'train')
  for dataset, labels in (('cifar100', (1, 2, 3, 4)), ('cifar10', (0, 2)))
  for label in labels
)


def make_extractor() -> FeatureExtractor:
  """From images to boundary activations, flat."""
  return FeatureExtractor((_make_player().trunk,), ('flatten',))


def _make_player() -> state.Player:
  return state.make_player(
    backbones.get(_BACKBONE),
    'imagenet',
    _LAST_LAYERS,
    'imagenet',
    SIZE,
    jax.random.key(0),
  )


def make_top() -> Top:
  """From boundary activations `[B, h, w, c]` to pooled features `[B, C]`."""
  player = _make_player()
  (name,) = player.trunk.graph.output

  def apply(variables, boundary):
    maps = player.head.apply(variables, {name: boundary})
    return pool(maps, player.backbone.pooling)

  return Top(apply, state.of_layers(player.pretrained, player.head.layers))


def load(folder: str, dataset: str, label: int) -> np.ndarray:
  """Boundary activations float32 `[N, h, w, c]` of a class of training images.

  Images are in the order of `store.load`.

  Raises:
    FileNotFoundError: this class was not extracted to its end.
  """
  flat = store.load(folder, dataset, label, 'train', STORED_AS, SIZE)
  player = _make_player()
  image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.float32)
  ((_, *shape),) = (a.shape for a in jax.eval_shape(player.trunk, image).values())
  return flat.reshape(len(flat), *shape)


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  folder = flags.DEFINE_string('features_dir', '', 'For them.')
  data_dir = flags.DEFINE_string('data_dir', '', 'The TFDS data folder.')
  batch_size = flags.DEFINE_integer('batch_size', 16, 'Images per batch.')

  def main() -> None:
    sources, extractor = store.Sources(data_dir.value, ''), make_extractor()
    for which in CLASSES:
      stem = store.stem_of(*which, STORED_AS, SIZE, False)
      images_of = functools.partial(sources.images, *which, SIZE)
      store.extract(Path(folder.value), stem, images_of, extractor, batch_size.value)

  command_line.run(main, required=(folder,))


if __name__ == '__main__':
  run_command()
