"""Compiled programs kept between runs, so that only the first one waits for XLA."""

from pathlib import Path

import jax
import pooch

# Least recently used programs go first. One of DenseNet121 takes about a megabyte.
_MAX_BYTES = 2 * 1024**3
_MIN_COMPILE_SECONDS = 0.5


def folder() -> Path:
  """Where compiled programs are kept: JAX's setting, or else the user's cache."""
  return Path(
    jax.config.jax_compilation_cache_dir or pooch.os_cache('egan_jax') / 'compiled'
  ).expanduser()


def enable() -> None:
  """Turns JAX's persistent compilation cache on; the package's commands do it.

  `JAX_COMPILATION_CACHE_DIR` chooses another folder and
  `JAX_ENABLE_COMPILATION_CACHE=false` turns it off. A folder that cannot be written
  to costs a warning and the compilation.
  """
  if jax.config.jax_compilation_cache_dir is not None:
    return
  jax.config.update('jax_compilation_cache_dir', str(folder()))
  jax.config.update('jax_compilation_cache_max_size', _MAX_BYTES)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', _MIN_COMPILE_SECONDS)
