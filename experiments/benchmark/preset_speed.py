"""How many images per second the presets of configs/folder.py see.

  python -m experiments.benchmark.preset_speed

Features of random images of 224 px, in turns; the machine should be idle.
"""

import statistics
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from configs import folder
from egan_jax import environment, feature_extractor, run_files

RESULT = Path(__file__).parents[1] / 'results' / 'preset_speed.json'

_IMAGES = flags.DEFINE_integer('images', 128, 'How many, at least.', lower_bound=1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of all presets.', lower_bound=1)
_OUTPUT = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')


def make_extractor(preset: str) -> feature_extractor.FeatureExtractor:
  """What a run with this preset sees images with."""
  config = folder.get_config(preset)
  return feature_extractor.make(
    feature_extractor.split_names(config.feature_backbones),
    config.discriminator_weights,
    config.image_size,
    config.preprocess,
    mirrored=config.mirror_images,
  )


def main(_: list[str]) -> None:
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (_IMAGES.value, 224, 224, 3), np.uint8)
  extractors = {preset: make_extractor(preset) for preset in folder.PRESETS}
  for extractor in extractors.values():
    feature_extractor.run(extractor, images[: feature_extractor.BATCH_SIZE])
  rates = {preset: [] for preset in extractors}
  for _ in range(_ROUNDS.value):
    for preset, extractor in extractors.items():
      start = time.perf_counter()
      feature_extractor.run(extractor, images)
      rates[preset].append(len(images) / (time.perf_counter() - start))
  result = {
    'command': 'python -m experiments.benchmark.preset_speed',
    'environment': environment.describe_environment(),
    'images': len(images),
    'images_per_second': {
      preset: {'median': statistics.median(values), 'all': values}
      for preset, values in rates.items()
    },
  }
  run_files.write_json(_OUTPUT.value, result)
  for preset, values in rates.items():
    print(f'{preset}: {statistics.median(values):.1f} images/s')


if __name__ == '__main__':
  app.run(main)
