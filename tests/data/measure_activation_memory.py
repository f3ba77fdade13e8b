"""The memory that activations take, for a process that does nothing else."""

import hashlib
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from egan_jax.backbones.trunk import Trunk
from egan_jax.data.activation_cache import ActivationCache


def _anonymous_bytes() -> int:
  lines = Path('/proc/self/status').read_text().splitlines()
  (line,) = (line for line in lines if line.startswith('RssAnon'))
  return 1024 * int(line.split()[1])


class _Peak:
  """The highest anonymous memory while it is open."""

  def __enter__(self):
    self.bytes = 0
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch)
    self._thread.start()
    return self

  def _watch(self):
    while not self._done.wait(0.001):
      self.bytes = max(self.bytes, _anonymous_bytes())

  def __exit__(self, *exception):
    self._done.set()
    self._thread.join()


@jax.jit
def _gather(arrays, indices):
  return jax.tree.map(lambda a: a[indices], arrays)


def _read(cache, trunk, images) -> str:
  """Computes activations and reads all of them through jitted gathers."""
  arrays = jax.device_put(cache.compute(trunk, images))
  digest = hashlib.sha256()
  for start in range(0, len(images), 50):
    indices = jnp.arange(start, min(start + 50, len(images)))
    for rows in _gather(arrays, indices).values():
      digest.update(np.asarray(rows).tobytes())
  return digest.hexdigest()


def measure(trunk: Trunk, images: np.ndarray, folder: str, share: float) -> None:
  """Prints the peak of anonymous memory while activations are computed and read.

  In bytes, beyond what a first batch left behind. Mapped files are not anonymous: the
  kernel drops their pages when it needs the room. With it, the SHA-256 of what was
  read.
  """
  cache = ActivationCache(Path(folder), share)
  _read(cache, trunk, images[:100])
  before = _anonymous_bytes()
  with _Peak() as peak:
    sha256 = _read(cache, trunk, images)
  print(peak.bytes - before, sha256)
