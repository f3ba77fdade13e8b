"""The five-fold run on a GPU or TPU: end to end, and how near to what it could be.

  python -m experiments.benchmark.accelerator

CIFAR-10 1:500 in shape (random images), DenseNet121 in both networks, 32 px: 5 folds
and 100 epochs with an evaluation after each, and the same with one fold; in float32 and
with a bfloat16 trunk. The trunk's arithmetic floor is the time that its operations on
all generated images would take at the rate of a large matrix product of that dtype.
"""

import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags, logging

from egan_jax import environment, run_files
from experiments.benchmark.jax_worker import Game
from experiments.benchmark.measurements import make_images

RESULT = Path(__file__).parents[1] / 'results' / 'speed_accelerator.json'
_MATRIX = 8192


def measure_peak_rate(dtype: str, size: int) -> float:
  """Operations a second of a product of two square matrices."""
  matrix = jnp.ones((size, size), dtype)
  product = jax.jit(jnp.matmul)
  jax.block_until_ready(product(matrix, matrix))
  start = time.perf_counter()
  for _ in range(5):
    result = product(matrix, matrix)
  jax.block_until_ready(result)
  return 5 * 2 * size**3 / (time.perf_counter() - start)


def measure_run(
  images: str, num_epochs: int, peak_rate: float, **arguments: str | int
) -> dict:
  """One run, from loading the images to the last scores.

  Args:
    images: the file to train on.
    num_epochs: each is followed by an evaluation.
    peak_rate: operations a second of the device.
    **arguments: as of `Game`.

  Returns:
    Seconds by phase, and `share_of_floor`: the trunk's floor over `epochs`.
  """
  seconds = {}

  def timed(phase, function):
    start = time.perf_counter()
    result = function()
    seconds[phase] = time.perf_counter() - start
    return result

  game = timed('setup', lambda: Game(images, **arguments))
  floor = num_epochs * game.count_trunk_operations() / peak_rate
  timed('compile', game.compile)

  def train():
    for _ in range(num_epochs):
      game.train_epoch()
      scores = game.score()
    return scores

  timed('epochs', train)
  return {
    **arguments,
    'num_epochs': num_epochs,
    'seconds': {**seconds, 'all': sum(seconds.values())},
    'trunk_floor_seconds': floor,
    'share_of_floor': floor / seconds['epochs'],
  }


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  num_epochs = flags.DEFINE_integer('num_epochs', 100, 'Of each run.', lower_bound=1)
  output = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')

  def main(_):
    logging.set_verbosity(logging.WARNING)
    if jax.default_backend() == 'cpu':
      sys.exit('error: JAX sees no accelerator here')
    runs = []
    with tempfile.TemporaryDirectory() as folder:
      for dtype in ('float32', 'bfloat16'):
        peak_rate = measure_peak_rate(dtype, _MATRIX)
        for num_folds in (5, 1):
          images = make_images(Path(folder, 'images.npz'), num_folds, 10, 5000, 2000)
          run = measure_run(images, num_epochs.value, peak_rate, trunk_dtype=dtype)
          runs.append({'num_folds': num_folds, 'peak_rate': peak_rate, **run})
          result = {
            'command': 'python -m experiments.benchmark.accelerator',
            'environment': environment.describe_environment(),
            'runs': runs,
          }
          run_files.write_json(output.value, result)
          seconds = run['seconds']
          print(
            f'{dtype}, {num_folds} folds: {seconds["all"]:.1f} s, of which epochs'
            f' {seconds["epochs"]:.1f} s, {run["share_of_floor"]:.0%} of the floor'
          )

  app.run(main)


if __name__ == '__main__':
  run_command()
