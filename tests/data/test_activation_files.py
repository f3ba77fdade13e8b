"""Mapped files: whole or absent, shared, evicted by age."""

import collections
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.data import activation_files
from egan_jax.data.activation_files import ActivationFiles
from egan_jax.errors import UserError
from tests.comparing import assert_identical

KEY = 'ab12'


def _make(seed=0, number=10, dtype=np.float32):
  rng = np.random.default_rng(seed)
  return {
    'relu': rng.normal(size=(number, 2, 2, 3)).astype(dtype),
    'concat': rng.normal(size=(number, 1, 1, 5)).astype(dtype),
  }


def _shapes(arrays):
  return {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype)
    for name, array in arrays.items()
  }


def _batches(arrays, size=4):
  number = len(arrays['relu'])
  for start in range(0, number, size):
    yield {name: array[start : start + size] for name, array in arrays.items()}


def _write(files, arrays, key=KEY):
  return files.open_or_write(key, _shapes(arrays), _batches(arrays))


def _reopen(files, arrays, key=KEY):
  """Opens what must be there."""

  def fail():
    pytest.fail('written again')
    yield

  return files.open_or_write(key, _shapes(arrays), fail())


def _names(folder):
  return sorted(p.name for p in folder.iterdir() if p.suffix != '.lock')


@pytest.mark.parametrize('dtype', [np.float32, jnp.bfloat16])
def test_written_once_and_opened_again(dtype, tmp_path):
  arrays = _make(dtype=dtype)
  files = ActivationFiles(tmp_path / 'new' / 'folder')
  assert_identical(_write(files, arrays), arrays)
  assert_identical(_reopen(files, arrays), arrays)
  again = _reopen(ActivationFiles(tmp_path / 'new' / 'folder'), arrays)
  assert_identical(again, arrays)
  assert _names(tmp_path / 'new/folder') == ['ab12.concat.npy', 'ab12.relu.npy']


def test_files_are_numpys_own_and_arrays_are_aligned_and_read_only(tmp_path):
  arrays = _make()
  written = _write(ActivationFiles(tmp_path), arrays)
  for name, array in arrays.items():
    np.testing.assert_array_equal(np.load(tmp_path / f'ab12.{name}.npy'), array)
    assert written[name].ctypes.data % 64 == 0
    with pytest.raises(ValueError, match='read-only'):
      written[name][0] = 0


def _cut(path):
  os.truncate(path, path.stat().st_size - 1)


def _cut_header(path):
  os.truncate(path, 20)


def _empty(path):
  os.truncate(path, 0)


def _lengthen(path):
  path.write_bytes(path.read_bytes() + b'x')


def _garble_header(path):
  path.write_bytes(b'\x93NUMPY\x01\x00' + bytes(200))


def _garble(path):
  path.write_bytes(b'no array')


def _other_shape(path):
  np.save(path, np.load(path)[:5])


def _other_order(path):
  np.save(path, np.asfortranarray(np.load(path)))


def _other_type(path):
  np.save(path, np.load(path).astype(np.float64))


def _objects(path):
  np.save(path, np.array([{}, None]), allow_pickle=True)


def _remove(path):
  path.unlink()


_DAMAGES = [
  _cut,
  _cut_header,
  _empty,
  _lengthen,
  _garble_header,
  _garble,
  _other_shape,
  _other_order,
  _other_type,
  _objects,
  _remove,
]


@pytest.mark.parametrize('damage', _DAMAGES)
@pytest.mark.parametrize('name', ['relu', 'concat'])
def test_damaged_files_are_made_again(damage, name, tmp_path):
  arrays = _make()
  _write(ActivationFiles(tmp_path), arrays)
  damage(tmp_path / f'ab12.{name}.npy')
  assert_identical(_write(ActivationFiles(tmp_path), arrays), arrays)
  assert_identical(_reopen(ActivationFiles(tmp_path), arrays), arrays)


def test_any_damage_to_a_header_is_noticed(tmp_path):
  arrays = _make()
  path = tmp_path / 'ab12.relu.npy'
  _write(ActivationFiles(tmp_path), arrays)
  whole = path.read_bytes()
  for position in range(128):
    damaged = bytearray(whole)
    damaged[position] ^= 1
    path.write_bytes(damaged)
    assert_identical(_write(ActivationFiles(tmp_path), arrays), arrays)
    assert path.read_bytes() == whole


def test_a_writer_that_fails_leaves_nothing(tmp_path):
  def fail(arrays):
    yield next(_batches(arrays))
    assert _names(tmp_path) == ['ab12.concat.tmp', 'ab12.relu.tmp']
    raise OSError('the images cannot be read')

  arrays = _make()
  with pytest.raises(OSError, match='the images cannot be read'):
    ActivationFiles(tmp_path).open_or_write(KEY, _shapes(arrays), fail(arrays))
  assert _names(tmp_path) == []
  assert_identical(_write(ActivationFiles(tmp_path), arrays), arrays)


@pytest.fixture
def small_disk():
  """No file can grow beyond 64 KiB, as if the disk were full."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up(small_disk, tmp_path):
  arrays = _make(number=2000)
  with pytest.raises(UserError, match='File too large') as caught:
    _write(ActivationFiles(tmp_path), arrays)
  assert str(tmp_path) in str(caught.value)
  assert activation_files.FOLDER_VARIABLE in str(caught.value)
  assert '\n' not in str(caught.value)
  assert _names(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='Not a directory') as caught:
    _write(ActivationFiles(tmp_path / 'file' / 'folder'), _make())
  assert '\n' not in str(caught.value)


_Disk = collections.namedtuple('_Disk', 'total used free')


def _set_disk(monkeypatch, total, free):
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: _Disk(total, total - free, free))


def test_a_disk_without_room(tmp_path, monkeypatch):
  old, new = _make(), _make(1, 30)
  _write(ActivationFiles(tmp_path), old, 'old')
  before = _names(tmp_path)
  _set_disk(monkeypatch, 10**9, 100)
  with pytest.raises(UserError, match=r'0\.0 GB left') as caught:
    _write(ActivationFiles(tmp_path), new)
  assert str(tmp_path) in str(caught.value)
  assert '\n' not in str(caught.value)
  assert _names(tmp_path) == before  # deleting it would not have helped


def _size(arrays):
  return sum(array.nbytes for array in arrays.values())


def _age(folder, key, seconds):
  for path in folder.glob(f'{key}.*.npy'):
    os.utime(path, (1e9 - seconds, 1e9 - seconds))


@pytest.mark.parametrize('scarce', ['share', 'free'])
def test_least_recently_used_files_make_room(scarce, tmp_path, monkeypatch):
  arrays = {key: _make(seed) for seed, key in enumerate(('first', 'second', 'third'))}
  mapped = {
    key: _write(ActivationFiles(tmp_path), value, key) for key, value in arrays.items()
  }
  for seconds, key in enumerate(('third', 'second', 'first')):
    _age(tmp_path, key, seconds)
  _reopen(ActivationFiles(tmp_path), arrays['first'], 'first')  # used just now
  new = _make(3)
  if scarce == 'share':  # three fit into the tenth of the disk that may be taken
    total = 10 * (3 * _size(new) + 4 * 128 + 2 * 128)
    _set_disk(monkeypatch, total, total)
  else:
    _set_disk(monkeypatch, 10**9, 0)
  _write(ActivationFiles(tmp_path), new, 'fourth')
  keys = {name.split('.')[0] for name in _names(tmp_path)}
  assert keys == {'first', 'third', 'fourth'}
  # Who has them open is not disturbed.
  for key, value in arrays.items():
    assert_identical(mapped[key], value)


def test_files_of_the_same_run_are_not_evicted(tmp_path, monkeypatch):
  _set_disk(monkeypatch, 10, 10**9)  # any file is more than a tenth of it
  files = ActivationFiles(tmp_path)
  for seed, key in enumerate(('first', 'second')):
    _write(files, _make(seed), key)
  assert {name.split('.')[0] for name in _names(tmp_path)} == {'first', 'second'}
  _write(ActivationFiles(tmp_path), _make(2), 'third')
  assert {name.split('.')[0] for name in _names(tmp_path)} == {'third'}


def test_default_folder(monkeypatch, tmp_path):
  monkeypatch.setenv(activation_files.FOLDER_VARIABLE, str(tmp_path))
  assert activation_files.default_folder() == tmp_path
  monkeypatch.setenv(activation_files.FOLDER_VARIABLE, '~/somewhere')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert activation_files.default_folder() == tmp_path / 'somewhere'
  monkeypatch.delenv(activation_files.FOLDER_VARIABLE)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert activation_files.default_folder() == tmp_path / 'egan_jax' / 'activations'
