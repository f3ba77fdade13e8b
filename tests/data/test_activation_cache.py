"""Activations made a batch at a time, in memory or on disk, are those of all images."""

import contextlib
import dataclasses
import itertools
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from egan_jax import backbones
from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Trunk
from egan_jax.data import activation_cache
from egan_jax.data.activation_cache import (
  ActivationCache,
  compute_boundary_activations,
  make_key,
)
from egan_jax.errors import UserError
from tests.comparing import assert_identical


def _make_trunk(backbone, variables, from_top=4, **changes):
  trunk_graph, _ = graph.split(backbone.layers, len(backbone.layers) - from_top)
  fields = {'preprocessing': 'none', 'image_size': 16, **changes}
  return Trunk(variables, trunk_graph, **fields)


@pytest.fixture
def trunk(tiny_backbone, tiny_variables):
  """Two tensors cross its cut."""
  trunk = _make_trunk(tiny_backbone, tiny_variables, from_top=6)
  assert len(trunk.graph.output) == 2
  return trunk


def _make_images(number, seed=0, size=8):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (number, size, size, 3), np.uint8)


@pytest.mark.parametrize('number', [1, 128, 131])
def test_any_number_of_images(trunk, number):
  images = _make_images(number)
  cached = compute_boundary_activations(trunk, images)
  direct = jax.jit(trunk.__call__)(images.astype(np.float32) / 255)
  assert cached.keys() == direct.keys() == set(trunk.graph.output)
  for name, values in direct.items():
    assert isinstance(cached[name], jax.Array)
    assert cached[name].shape == values.shape
    np.testing.assert_allclose(cached[name], values, rtol=0, atol=1e-5)


@pytest.mark.parametrize('from_top', [0, 1, 6, 12])
@pytest.mark.parametrize('number', [1, 131])
def test_on_disk_equals_in_memory_bit_for_bit(
  tiny_backbone, tiny_variables, from_top, number, tmp_path
):
  trunk = _make_trunk(tiny_backbone, tiny_variables, from_top)
  images = _make_images(number)
  expected = compute_boundary_activations(trunk, images)
  for share in (0, 1):
    cache = ActivationCache(tmp_path / str(share), share)
    for _ in range(2):
      assert_identical(cache.compute(trunk, images), expected)
  assert not (tmp_path / '1').exists()
  files = [path.name for path in (tmp_path / '0').glob('*.npy')]
  assert len(files) == len(expected)


def test_large_images_come_in_smaller_batches(tiny_backbone, tiny_variables, tmp_path):
  large = _make_trunk(tiny_backbone, tiny_variables, image_size=1024)
  images = _make_images(3)
  sizes = []

  class Spy:
    shape, dtype = images.shape, images.dtype

    def __getitem__(self, indices):
      sizes.append(len(images[indices]))
      return images[indices]

  actual = compute_boundary_activations(large, Spy())
  assert sizes == [2, 1]
  direct = jax.jit(large.__call__)(images.astype(np.float32) / 255)
  for name, values in direct.items():
    np.testing.assert_allclose(actual[name], values, rtol=0, atol=1e-4)


def _count_trunk_batches(monkeypatch):
  """A list that grows with every batch that goes through a trunk."""
  batches = []
  compute = activation_cache._compute_batches

  def spy(*arguments):
    for batch in compute(*arguments):
      batches.append(batch)
      yield batch

  monkeypatch.setattr(activation_cache, '_compute_batches', spy)
  return batches


def test_only_what_is_on_disk_is_reused(trunk, tmp_path, monkeypatch):
  batches = _count_trunk_batches(monkeypatch)
  images = _make_images(131)
  for expected in (2, 2, 2):
    ActivationCache(tmp_path, 0).compute(trunk, images)
    assert len(batches) == expected
  ActivationCache(tmp_path, 1).compute(trunk, images)
  assert len(batches) == 4


def test_memory_is_shared_by_all_activations_of_a_run(trunk, tmp_path, monkeypatch):
  images = [_make_images(10, seed) for seed in range(3)]
  size = sum(a.nbytes for a in compute_boundary_activations(trunk, images[0]).values())
  monkeypatch.setattr(activation_cache, 'available_memory', lambda: 5 * size)
  cache = ActivationCache(tmp_path, 0.5)
  for number, some in enumerate(images):
    cache.compute(trunk, some)
    on_disk = {path.name.split('.')[0] for path in tmp_path.glob('*.npy')}
    assert on_disk == ({make_key(trunk, some)} if number == 2 else set())


@pytest.mark.parametrize('share', [-0.1, 1.1, float('nan')])
def test_shares_that_cannot_be(share, tmp_path):
  with pytest.raises(UserError, match=r'outside \[0, 1\]'):
    ActivationCache(tmp_path, share)


@pytest.mark.parametrize('share', [0, 1])
def test_jax_reads_the_arrays_where_they_are(trunk, share, tmp_path):
  arrays = ActivationCache(tmp_path, share).compute(trunk, _make_images(131))
  for name, array in arrays.items():
    assert not array.flags.writeable
    on_device = jax.device_put(array)
    assert on_device.unsafe_buffer_pointer() == array.ctypes.data
    indices = jnp.array([130, 0, 77])
    gathered = jax.jit(lambda values, indices: values[indices])(on_device, indices)
    np.testing.assert_array_equal(gathered, array[[130, 0, 77]], err_msg=name)


@struct.dataclass
class _TrunkWithType(Trunk):
  """A field that does not exist yet, to see that the key knows of it."""

  dtype: Any = struct.field(pytree_node=False, default=jnp.float32)

  def __call__(self, images):
    activations = super().__call__(images)
    return jax.tree.map(lambda a: a.astype(self.dtype), activations)


def _with_type(trunk, dtype):
  fields = {f.name: getattr(trunk, f.name) for f in dataclasses.fields(trunk)}
  return _TrunkWithType(**fields, dtype=dtype)


def _next_up(variables):
  leaves, treedef = jax.tree.flatten(variables)
  leaves[-1] = leaves[-1].copy()
  leaves[-1].flat[-1] = np.nextafter(leaves[-1].flat[-1], np.float32(np.inf))
  return jax.tree.unflatten(treedef, leaves)


def _swap(variables, one, other):
  params = dict(variables['params'])
  params[one], params[other] = params[other], params[one]
  return {**variables, 'params': params}


def test_key_depends_on_all_that_activations_depend_on(tiny_backbone, tiny_variables):
  def make(variables=tiny_variables, **changes):
    return _make_trunk(tiny_backbone, variables, **changes)

  images = _make_images(4)
  other_byte = images.copy()
  other_byte[-1, -1, -1, -1] ^= 1
  layers = list(tiny_backbone.layers)
  layers[3] = dataclasses.replace(layers[3], op='relu6')
  other_op = backbones.Backbone('Tiny', tuple(layers), 'none')
  variants = {
    'itself': (make(), images),
    'weights': (make(_next_up(tiny_variables)), images),
    'layers of weights': (make(_swap(tiny_variables, 'bn1', 'bn2')), images),
    'operation': (_make_trunk(other_op, tiny_variables), images),
    'cut': (make(from_top=5), images),
    'preprocessing': (make(preprocessing='torch'), images),
    'other preprocessing': (make(preprocessing='caffe'), images),
    'image size': (make(image_size=8), images),
    'type': (_with_type(make(), jnp.bfloat16), images),
    'byte': (make(), other_byte),
    'order': (make(), images[::-1]),
    'number': (make(), images[:3]),
    'shape': (make(), images.reshape(1, 16, 16, 3)),
  }
  keys = {what: make_key(*variant) for what, variant in variants.items()}
  same = [
    pair for pair in itertools.combinations(keys, 2) if keys[pair[0]] == keys[pair[1]]
  ]
  assert same == []
  on_device = jax.tree.map(jnp.asarray, tiny_variables)
  assert make_key(make(on_device), images.copy()) == keys['itself']


def test_bfloat16_activations_come_back_from_disk(trunk, tmp_path):
  low = _with_type(trunk, jnp.bfloat16)
  images = _make_images(5)
  expected = compute_boundary_activations(low, images)
  for _ in range(2):
    actual = ActivationCache(tmp_path, 0).compute(low, images)
    assert_identical(actual, expected)
    assert {a.dtype for a in actual.values()} == {jnp.dtype(jnp.bfloat16)}


# Writes activations, and waits for a line once the second batch has been asked for:
# the first time that images are read their hash is taken.
_WRITER = """
import pickle, sys
from pathlib import Path
from egan_jax.data.activation_cache import ActivationCache

trunk, images = pickle.loads(Path(sys.argv[1]).read_bytes())

class Images:
  shape, dtype = images.shape, images.dtype
  reads = 0

  def __getitem__(self, indices):
    self.reads += indices.start > 0
    if self.reads == 2:
      print('half-way', flush=True)
      sys.stdin.readline()
    return images[indices]

ActivationCache(Path(sys.argv[2]), 0).compute(trunk, Images())
print('finished', flush=True)
"""


@contextlib.contextmanager
def _half_way_writer(trunk, images, folder):
  """Another process that has written the first of two batches."""
  inputs = folder.with_suffix('.pickle')
  inputs.write_bytes(pickle.dumps((trunk, images)))
  process = subprocess.Popen(
    [sys.executable, '-c', _WRITER, inputs, folder],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == 'half-way\n'
    yield process
  finally:
    process.kill()
    process.communicate()


def _names(folder):
  return {path.name for path in folder.iterdir() if path.suffix != '.lock'}


def test_killed_writer_is_started_over(trunk, tmp_path, monkeypatch):
  images = _make_images(200)
  folder = tmp_path / 'cache'
  key = make_key(trunk, images)
  with _half_way_writer(trunk, images, folder) as writer:
    halves = {path.name: path.stat().st_size for path in folder.glob('*.tmp')}
    # Of this key: processes agree on it.
    assert set(halves) == {f'{key}.{name}.tmp' for name in trunk.graph.output}
    assert min(halves.values()) > 128
    writer.kill()
    writer.wait()
  assert _names(folder) == set(halves)
  batches = _count_trunk_batches(monkeypatch)
  for _ in range(2):
    actual = ActivationCache(folder, 0).compute(trunk, images)
    assert_identical(actual, compute_boundary_activations(trunk, images))
  assert len(batches) == 2 + 2 * 2  # once to disk, twice for comparison
  assert _names(folder) == {f'{key}.{name}.npy' for name in trunk.graph.output}


@pytest.mark.parametrize('end', ['finishes', 'is killed'])
def test_the_second_of_two_writers_waits(end, trunk, tmp_path, monkeypatch):
  images = _make_images(200)
  expected = compute_boundary_activations(trunk, images)
  folder = tmp_path / 'cache'
  batches = _count_trunk_batches(monkeypatch)
  results = []
  waiting = threading.Thread(
    target=lambda: results.append(ActivationCache(folder, 0).compute(trunk, images))
  )
  with _half_way_writer(trunk, images, folder) as writer:
    waiting.start()
    waiting.join(timeout=1)
    assert waiting.is_alive()
    assert not batches
    if end == 'finishes':
      print(file=writer.stdin, flush=True)
      assert writer.stdout.readline() == 'finished\n'
    else:
      writer.kill()
    waiting.join(timeout=60)
  assert_identical(results[0], expected)
  assert len(batches) == (0 if end == 'finishes' else 2)
  assert {Path(name).suffix for name in _names(folder)} == {'.npy'}


def test_leftovers_are_removed_but_not_those_of_living_writers(trunk, tmp_path):
  mine = _make_images(200)
  lock = make_key(trunk, mine)[:2]
  # Another key with another lock.
  others = (_make_images(1, seed) for seed in itertools.count(1))
  other = next(some for some in others if make_key(trunk, some)[:2] != lock)
  folder = tmp_path / 'cache'
  with _half_way_writer(trunk, mine, folder) as writer:
    halves = _names(folder)
    ActivationCache(folder, 0).compute(trunk, other)
    assert halves < _names(folder)
    print(file=writer.stdin, flush=True)
    assert writer.stdout.readline() == 'finished\n'
  assert not list(folder.glob('*.tmp'))
  for name in halves:
    (folder / name).touch()
  ActivationCache(folder, 0).compute(trunk, other)
  assert halves <= _names(folder)  # nothing was written, so nothing tidied up
  ActivationCache(folder, 0).compute(trunk, other[:, ::-1])
  assert not list(folder.glob('*.tmp'))


def _measure(setup, *arguments):
  """Runs `measure` in another process, compiled as for a user.

  Returns:
    The peak and the hash that it prints.
  """
  result = subprocess.run(
    [
      sys.executable,
      '-c',
      f'{setup}\nfrom measure_activation_memory import measure'
      '\nmeasure(trunk, images, sys.argv[1], float(sys.argv[2]))',
      *map(str, arguments),
    ],
    capture_output=True,
    text=True,
    check=True,
    timeout=600,
    cwd=Path(__file__).parent,
    env={**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '0', 'XLA_FLAGS': ''},
  )
  peak, sha256 = result.stdout.split()
  return int(peak), sha256


_TINY = """
import pickle, sys
from pathlib import Path
trunk, images = pickle.loads(Path(sys.argv[3]).read_bytes())
"""


def test_memory_is_bounded(tiny_backbone, tiny_variables, tmp_path):
  """262 MB of activations are computed and read with less than half of that."""
  trunk = _make_trunk(tiny_backbone, tiny_variables, from_top=11, image_size=64)
  images = _make_images(8000, size=4)
  size = 8000 * 32 * 32 * 8 * 4
  inputs = tmp_path / 'inputs.pickle'
  inputs.write_bytes(pickle.dumps((trunk, images)))
  in_memory, expected = _measure(_TINY, tmp_path / 'unused', 1, inputs)
  on_disk, actual = _measure(_TINY, tmp_path / 'on_disk', 0, inputs)
  assert actual == expected
  # Once, not twice: JAX makes no copy, and batches are not gathered before.
  assert size < in_memory < 1.5 * size
  assert on_disk < 0.5 * size


_LITE = """
import sys
import jax
import numpy as np
from egan_jax import backbones
from egan_jax.state import make_player
backbone = backbones.get('EfficientNetLite0')
trunk = make_player(backbone, 'imagenet', 5, 'imagenet', 224, jax.random.key(0)).trunk
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (int(sys.argv[3]), 32, 32, 3), np.uint8)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
  """EfficientNetLite0 at 224 px: 226 KB of activations per image."""
  few, many = 400, 3600
  peaks = {number: _measure(_LITE, tmp_path, 0, number)[0] for number in (few, many)}
  assert peaks[many] - peaks[few] < 0.5 * (many - few) * 7 * 7 * 1152 * 4
  # With what a process takes for JAX, this leaves 6 GB of 8 to training.
  assert peaks[many] < 1.5e9
