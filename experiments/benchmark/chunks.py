"""What it is worth to run generated images through the frozen layers in chunks.

  python -m experiments.benchmark.chunks [--output=JSON]

`steps.run_trunk` forward and backward to the images, all at once and in chunks of
several sizes, in turns; the machine should be idle. The chunks keep what the backward
pass needs, or are computed a second time for it.
"""

import functools
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from egan_jax import backbones, environment, run_files, steps
from egan_jax import state as egan_state
from egan_jax.backbones.trunk import Chunks, Trunk

RESULT = Path(__file__).parents[1] / 'results' / 'speed_chunks.json'
BACKBONES = ('DenseNet121', 'EfficientNetLite0')
# By side of the images in pixels: how many, and images at once.
SETTINGS = {
  32: (500, (250, 128, 64)),
  96: (50, (25, 14, 7)),
  224: (10, (5, 3, 2)),
}
SETTINGS_ON_ACCELERATOR = {
  32: (5000, (2048, 512, 128)),
  96: (500, (227, 56, 14)),
  224: (100, (41, 10, 2)),
}

_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of each setting.', lower_bound=1)
_OUTPUT = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')


@functools.partial(jax.jit, static_argnums=2)
def run_both_ways(trunk: Trunk, images: jax.Array, chunks: Chunks | None):
  """The sum of all activations' squares, and its gradient."""

  def add_up(images):
    activations = steps.run_trunk(trunk, images, chunks)
    return sum(jnp.sum(a**2) for a in activations.values())

  return jax.value_and_grad(add_up)(images)


def measure(
  name: str, image_size: int, number: int, sizes: tuple, rounds: int
) -> list[dict]:
  """Median seconds by images at once, kept and computed again."""
  player = egan_state.make_player(
    backbones.get(name), 'none', 5, 'scale', image_size, jax.random.key(0)
  )
  images = jax.random.uniform(jax.random.key(1), (number, 32, 32, 3))
  ways = [None] + [Chunks(size, kept) for size in sizes for kept in (number, 0)]
  seconds = {way: [] for way in ways}
  for way in ways:
    jax.block_until_ready(run_both_ways(player.trunk, images, way))
  for _ in range(rounds):
    for way in ways:
      start = time.perf_counter()
      jax.block_until_ready(run_both_ways(player.trunk, images, way))
      seconds[way].append(time.perf_counter() - start)
  return [
    {
      'backbone': name,
      'image_size': image_size,
      'images': number,
      'images_at_once': way.size if way else number,
      'computed_again': bool(way) and not way.kept,
      'median_seconds': statistics.median(values),
      'all_seconds': values,
    }
    for way, values in seconds.items()
  ]


def main(_: list[str]) -> None:
  on_cpu = jax.default_backend() == 'cpu'
  settings = SETTINGS if on_cpu else SETTINGS_ON_ACCELERATOR
  rows = []
  for name in BACKBONES:
    for image_size, (number, sizes) in settings.items():
      rows += measure(name, image_size, number, sizes, _ROUNDS.value)
      result = {
        'command': f'python -m experiments.benchmark.chunks --rounds={_ROUNDS.value}',
        'environment': environment.describe_environment(),
        'rows': rows,
      }
      run_files.write_json(_OUTPUT.value, result)
  for row in rows:
    again = 'computed again' if row['computed_again'] else ''
    names = ('backbone', 'image_size', 'images', 'images_at_once')
    print(*(row[key] for key in names), again)
    print(f'  {1e3 * row["median_seconds"]:.0f} ms')


if __name__ == '__main__':
  app.run(main)
