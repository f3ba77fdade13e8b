import os
import subprocess
import sys

import pytest

_PROGRAM = """
import jax, jax.numpy as jnp
from egan_jax import compilation_cache
hits = []
jax.monitoring.register_event_listener(
  lambda event, **_: hits.append(event) if event.endswith('/cache_hits') else None
)
compilation_cache.enable()
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
print(float(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.eye(3)).sum()), len(hits))
print(compilation_cache.folder())
"""


def _run(tmp_path, **variables):
  variables = {'XDG_CACHE_HOME': str(tmp_path / 'cache'), **variables}
  kept = {k: v for k, v in os.environ.items() if not k.startswith('JAX_COMPILATION')}
  done = subprocess.run(
    [sys.executable, '-c', _PROGRAM],
    env={**kept, **variables},
    capture_output=True,
    text=True,
    check=True,
  )
  result, folder = done.stdout.splitlines()
  value, hits = result.split()
  return float(value), int(hits), folder, done.stderr


def test_second_process_finds_what_the_first_compiled(tmp_path):
  first, hits, folder, _ = _run(tmp_path)
  assert hits == 0
  assert folder.startswith(str(tmp_path))
  second, hits, _, _ = _run(tmp_path)
  assert hits > 0
  assert first == second


def test_jax_s_own_setting_wins(tmp_path):
  chosen = str(tmp_path / 'elsewhere')
  *_, folder, _ = _run(tmp_path, JAX_COMPILATION_CACHE_DIR=chosen)
  assert folder == chosen
  assert os.listdir(chosen)
  assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize('damage', ['not a folder', 'garbage'])
def test_what_cannot_be_used_costs_only_the_compilation(tmp_path, damage):
  value, _, folder, _ = _run(tmp_path)
  if damage == 'not a folder':
    other = tmp_path / 'file'
    other.write_text('')
    again, hits, _, errors = _run(tmp_path, XDG_CACHE_HOME=str(other))
  else:
    for name in os.listdir(folder):
      with open(os.path.join(folder, name), 'wb') as file:
        file.write(b'garbage')
    again, hits, _, errors = _run(tmp_path)
  assert again == value
  assert hits == 0
  assert 'Traceback' not in errors
