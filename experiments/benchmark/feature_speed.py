"""Feature extraction against Keras's own `predict`, on the same images and weights.

  python -m experiments.benchmark.feature_speed

Keras runs on its JAX backend in the same process, the two in turns. Where TensorFlow
is installed, Keras on that backend is timed as well, in a process of its own and
therefore not in turns. Each of them gets what it would get from its user: ours uint8
images, which it preprocesses itself; Keras preprocessed float32 images in memory,
whose preprocessing is not timed. Compiling, building and loading are not timed either.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Before Keras is imported.
os.environ.setdefault('KERAS_BACKEND', 'jax')

import numpy as np
from absl import app, flags
from tqdm import tqdm

from experiments.benchmark.timing import time_call

RESULT = Path(__file__).parents[1] / 'results' / 'feature_speed.json'
KERAS_BACKBONES = ('DenseNet121', 'VGG16', 'VGG19', 'ResNet101', 'EfficientNetB2')
# The module of keras.applications that has `preprocess_input`.
_MODULES = {
  'DenseNet121': 'densenet',
  'VGG16': 'vgg16',
  'VGG19': 'vgg19',
  'ResNet101': 'resnet',
  'EfficientNetB2': 'efficientnet',
}

_BACKBONES = flags.DEFINE_list('backbones', list(KERAS_BACKBONES), 'Which to time.')
_SIZES = flags.DEFINE_list('sizes', ['32', '224'], 'Sides of the images, in pixels.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 32, 'Images per batch.')
_SECONDS = flags.DEFINE_float('seconds', 2.0, 'Each measurement takes about as long.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Measurements of each.', lower_bound=1)
_OUTPUT = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')
_PEER = flags.DEFINE_integer(
  'peer', 0, 'Only time Keras, on this many images, and print the times as JSON.'
)


def _random_images(count: int, size: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def _make_keras(name: str, size: int):
  """A Keras model with pooled output, and its preprocessing."""
  import keras

  keras.utils.clear_session()
  keras.utils.set_random_seed(0)
  model = getattr(keras.applications, name)(
    include_top=False, weights=None, input_shape=(size, size, 3), pooling='avg'
  )
  module = getattr(keras.applications, _MODULES[name])
  return model, lambda images: module.preprocess_input(images.astype(np.float32))


def measure(name: str, size: int) -> dict:
  """Times of one backbone at one size, the two in turns."""
  from egan_jax import feature_extractor

  model, preprocess = _make_keras(name, size)
  batch_size = _BATCH_SIZE.value
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, 'x.weights.h5')
    model.save_weights(path)
    extractor = feature_extractor.make((name,), path, size, 'imagenet')

  def ours(images):
    return feature_extractor.run(extractor, images, batch_size)

  def theirs(images):
    return model.predict(images, batch_size=batch_size, verbose=0)

  batch = _random_images(batch_size, size)
  prepared = preprocess(batch)
  expected = theirs(prepared)
  difference = np.abs(ours(batch) - expected).max() / np.abs(expected).max()
  # As many whole batches as fit the time.
  num_batches = max(1, round(_SECONDS.value / time_call(lambda: ours(batch))))
  images = np.tile(batch, (num_batches, 1, 1, 1))
  prepared = np.tile(prepared, (num_batches, 1, 1, 1))
  seconds = {'ours': [], 'keras_jax': []}
  for _ in range(_REPEATS.value):
    seconds['ours'].append(time_call(lambda: ours(images)))
    seconds['keras_jax'].append(time_call(lambda: theirs(prepared)))
  if importlib.util.find_spec('tensorflow'):
    seconds['keras_tensorflow'] = _measure_peer(name, size, len(images))
  medians = {who: statistics.median(times) for who, times in seconds.items()}
  return {
    'backbone': name,
    'image_size': size,
    'batch_size': batch_size,
    'num_images': len(images),
    'relative_difference': float(difference),
    'seconds': seconds,
    'images_per_second': {who: len(images) / t for who, t in medians.items()},
    'speed_of_ours': {
      who: t / medians['ours'] for who, t in medians.items() if who != 'ours'
    },
  }


def _measure_peer(name: str, size: int, num_images: int) -> list[float]:
  command = [
    *(
      sys.executable,
      '-m',
      'experiments.benchmark.feature_speed',
      f'--peer={num_images}',
    ),
    *(f'--backbones={name}', f'--sizes={size}', f'--repeats={_REPEATS.value}'),
    f'--batch_size={_BATCH_SIZE.value}',
  ]
  environment = {**os.environ, 'KERAS_BACKEND': 'tensorflow'}
  output = subprocess.run(
    command, env=environment, check=True, stdout=subprocess.PIPE, text=True
  ).stdout
  return json.loads(output.splitlines()[-1])


def _be_peer(name: str, size: int, num_images: int) -> None:
  model, preprocess = _make_keras(name, size)
  images = preprocess(_random_images(num_images, size))

  def predict():
    return model.predict(images, batch_size=_BATCH_SIZE.value, verbose=0)

  predict()
  print(json.dumps([time_call(predict) for _ in range(_REPEATS.value)]))


def _table(rows: list[dict]) -> str:
  lines = [f'{"backbone":15} {"size":>4} {"ours, images/s":>15}  ours / Keras']
  for row in rows:
    ratios = ', '.join(f'{r:.2f} ({who})' for who, r in row['speed_of_ours'].items())
    speed = row['images_per_second']['ours']
    lines.append(f'{row["backbone"]:15} {row["image_size"]:4} {speed:15.1f}  {ratios}')
  return '\n'.join(lines)


def main(_):
  settings = [(name, int(size)) for size in _SIZES.value for name in _BACKBONES.value]
  if _PEER.value:
    _be_peer(*settings[0], _PEER.value)
    return
  from egan_jax import environment, run_files

  rows = []
  for name, size in tqdm(settings, disable=None):
    rows.append(measure(name, size))
    result = {
      'command': 'python -m experiments.benchmark.feature_speed '
      + ' '.join(sys.argv[1:]),
      'environment': environment.describe_environment(),
      'keras': _describe_keras(),
      'rows': rows,
    }
    run_files.write_json(_OUTPUT.value, result)  # so far
  print(_table(rows))


def _describe_keras() -> dict:
  import keras

  return {
    'version': keras.__version__,
    'backend': keras.backend.backend(),
    'tensorflow': importlib.util.find_spec('tensorflow') is not None,
  }


if __name__ == '__main__':
  app.run(main)
