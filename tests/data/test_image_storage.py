"""Decoded images in memory and in files without a name."""

import os
import subprocess
import sys

import numpy as np
import pytest

from egan_jax.data import image_storage
from egan_jax.errors import UserError


def _images(count):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, 4, 4, 3), np.uint8)


def _is_mapped(array):
  while array is not None:
    if isinstance(array, np.memmap):
      return True
    array = getattr(array, 'base', None)
  return False


@pytest.mark.parametrize(
  ('available', 'mapped'), [(4 * 480, False), (4 * 480 - 1, True)]
)
@pytest.mark.parametrize('count', [0, 1, 7, 10])
def test_array_in_memory_and_on_disk_are_the_same(
  available, mapped, count, monkeypatch, tmp_path
):
  monkeypatch.setattr(image_storage, 'available_memory', lambda: available)
  monkeypatch.setenv('TMPDIR', str(tmp_path))
  monkeypatch.setattr(image_storage.tempfile, 'tempdir', None)
  images = _images(count)
  kept = image_storage.keep(iter(images), 10, 4)
  assert (kept.shape, kept.dtype) == ((count, 4, 4, 3), np.uint8)
  np.testing.assert_array_equal(kept, images)
  assert _is_mapped(kept) == (mapped and count > 0)
  assert not list(tmp_path.iterdir())


def test_the_file_is_gone_when_the_process_is_killed(tmp_path):
  program = """
import os, signal
import numpy as np
from egan_jax.data import image_storage
image_storage.available_memory = lambda: 0
kept = image_storage.keep((np.full((64, 64, 3), 7, np.uint8) for _ in range(9)), 9, 64)
assert (kept == 7).all() and not kept.flags.writeable
os.kill(os.getpid(), signal.SIGKILL)
"""
  process = subprocess.run(
    [sys.executable, '-c', program],
    env={**os.environ, 'TMPDIR': str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert process.returncode == -9, process.stderr
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='only Linux has /dev/full')
def test_full_disk(monkeypatch):
  monkeypatch.setattr(image_storage, 'available_memory', lambda: 0)
  monkeypatch.setattr(
    image_storage.tempfile,
    'TemporaryFile',
    lambda buffering: open('/dev/full', 'wb', buffering=buffering),
  )
  with pytest.raises(UserError, match=r'No space left.*set TMPDIR') as caught:
    image_storage.keep(iter(_images(3)), 3, 4)
  assert '\n' not in str(caught.value)


def test_errors_of_the_images_are_their_own(monkeypatch):
  monkeypatch.setattr(image_storage, 'available_memory', lambda: 0)

  def fail():
    yield _images(1)[0]
    raise OSError('of the source')

  with pytest.raises(OSError, match='of the source'):
    image_storage.keep(fail(), 3, 4)
