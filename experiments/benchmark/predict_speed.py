"""Prediction against the bare backbone under jit, on the same images and machine.

  python -m experiments.benchmark.predict_speed

In one process and in turns: the jitted backbone alone on batches of uint8 images that
are in memory, all of them handed to the device before it is waited for; `Predictor` on
the same array; `Predictor` on the same images as JPEG files, which it reads and
decodes. Loading and compiling are not timed. The images are crops of the photographs
that come with scikit-learn.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from PIL import Image
from sklearn.datasets import load_sample_images
from tqdm import tqdm

from egan_jax import environment, feature_extractor, run_files, scorers
from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.bundle import Bundle
from egan_jax.evaluation import thresholds
from egan_jax.predict import Predictor
from egan_jax.predictor import BATCH_SIZE
from experiments.benchmark.timing import time_call

RESULT = Path(__file__).parents[1] / 'results' / 'predict_speed.json'

_BACKBONES = flags.DEFINE_list(
  'backbones', ['EfficientNetLite0', 'DenseNet121'], 'Which to time.'
)
_SIZE = flags.DEFINE_integer('size', 224, 'Side of the images, in pixels.')
_SECONDS = flags.DEFINE_float('seconds', 1.5, 'Each measurement takes about as long.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Measurements of each.', lower_bound=1)
_OUTPUT = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')


def crop_photographs(number: int, size: int) -> np.ndarray:
  """Crops uint8 `[number, size, size, 3]` at random places."""
  rng = np.random.default_rng(0)
  photographs = load_sample_images().images
  crops = []
  for i in range(number):
    photograph = photographs[i % len(photographs)]
    top, left = (rng.integers(n - size) for n in photograph.shape[:2])
    crops.append(photograph[top : top + size, left : left + size])
  return np.stack(crops)


def make_model(name: str, size: int) -> Bundle:
  """A nearest class mean on a backbone with random weights."""
  front = feature_extractor.make((name,), 'none', size, 'imagenet')
  rng = np.random.default_rng(0)
  centre, weights = rng.normal(size=(2, *front.sizes))
  return Bundle(
    method='nearest_class_mean',
    backbones=(name,),
    fine_tune_layers=0,
    image_size=size,
    preprocess='imagenet',
    front=front,
    scorer=scorers.make({'centre': centre, 'weights': weights, 'offset': 0}, 'linear'),
    threshold=thresholds.zero(),
    calibration=None,
    prior=0.5,
    minority_class='minority',
    majority_class='majority',
    training={},
  )


def measure(name: str, size: int, folder: Path) -> dict:
  """Times of one backbone, all in turns."""
  model = make_model(name, size)
  predictor = Predictor(model)
  run = jax.jit(lambda front, images: front(to_unit_range(images)))
  front = jax.device_put(model.front)

  def bare(images):
    batches = np.split(images, len(images) // BATCH_SIZE)
    jax.block_until_ready([run(front, batch) for batch in batches])

  batch = crop_photographs(BATCH_SIZE, size)
  bare(batch)  # compiles
  predictor.scores(batch)
  num_batches = max(2, round(_SECONDS.value / time_call(lambda: bare(batch))))
  images = crop_photographs(num_batches * BATCH_SIZE, size)
  paths = [folder / f'{name} {i}.jpg' for i in range(len(images))]
  for path, image in zip(paths, images, strict=True):
    Image.fromarray(image).save(path, quality=90)
  ways = {
    'bare': lambda: bare(images),
    'arrays': lambda: predictor.scores(images),
    'files': lambda: predictor.scores(paths),
  }
  seconds = {way: [] for way in ways}
  for _ in range(_REPEATS.value):
    for way, function in ways.items():
      seconds[way].append(time_call(function))
  medians = {way: statistics.median(times) for way, times in seconds.items()}
  return {
    'backbone': name,
    'image_size': size,
    'batch_size': BATCH_SIZE,
    'num_images': len(images),
    'seconds': seconds,
    'images_per_second': {way: len(images) / t for way, t in medians.items()},
    'speed_against_bare': {
      way: medians['bare'] / t for way, t in medians.items() if way != 'bare'
    },
  }


def main(_):
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    for name in tqdm(_BACKBONES.value, disable=None):
      rows.append(measure(name, _SIZE.value, Path(folder)))
  result = {
    'command': ' '.join(
      ['python -m experiments.benchmark.predict_speed', *sys.argv[1:]]
    ),
    'environment': environment.describe_environment(),
    'rows': rows,
  }
  run_files.write_json(_OUTPUT.value, result)
  print(f'{"backbone":18} {"bare, images/s":>14}  arrays / bare  files / bare')
  for row in rows:
    ratios = row['speed_against_bare']
    print(
      f'{row["backbone"]:18} {row["images_per_second"]["bare"]:14.1f}'
      f'  {ratios["arrays"]:13.2f}  {ratios["files"]:12.2f}'
    )


if __name__ == '__main__':
  app.run(main)
