import gc
import os
import tempfile
from collections.abc import Iterator

# Before Keras is imported anywhere: the peers of the parity tests run on JAX.
os.environ['KERAS_BACKEND'] = 'jax'

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import backbones
from egan_jax.backbones import Backbone
from egan_jax.reporting import report
from egan_jax.state import Player
from tests import commands, small_runs


def pytest_configure(config):
  """Here and in the processes that tests start, compiling costs as little as it can.

  Programs as small as those of the tests compile faster than they gain by being fast,
  and each is compiled for the first test that needs it. With
  JAX_DISABLE_MOST_OPTIMIZATIONS=0 and an empty XLA_FLAGS in the environment they are
  what a user runs.
  """
  # XLA's newer way to fused loops takes three times as long. From JAX 0.11 on it is the
  # only one, and a flag that XLA does not know ends the process.
  if jax.__version_info__ < (0, 11):
    os.environ.setdefault('XLA_FLAGS', '--xla_cpu_use_fusion_emitters=false')
  folder = tempfile.TemporaryDirectory(prefix='egan_jax_tests_')
  config.add_cleanup(folder.cleanup)
  for name, value in {
    'jax_disable_most_optimizations': True,
    'jax_compilation_cache_dir': folder.name,
    'jax_persistent_cache_min_compile_time_secs': 0.0,
  }.items():
    if name.upper() not in os.environ:
      os.environ[name.upper()] = str(value)
      jax.config.update(name, value)


def pytest_collection_finish():
  """What is imported stays: the garbage collector need not go through it again."""
  gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def _forget_programs() -> Iterator[None]:
  """Every compiled program holds mappings of memory, of which a process has 65,530.

  With those of all modules together, XLA crashed at the end of the suite.
  """
  yield
  jax.clear_caches()


@pytest.fixture(scope='session')
def tiny_backbone() -> Backbone:
  return small_runs.make_tiny_backbone()


@pytest.fixture(scope='module')
def tiny_registered(tiny_backbone) -> Iterator[str]:
  """Registers the tiny backbone under its name while a module's tests run."""
  get = backbones.get
  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.setattr(
      backbones, 'get', lambda name: tiny_backbone if name == 'Tiny' else get(name)
    )
    yield 'Tiny'


@pytest.fixture(scope='session')
def tiny_variables(tiny_backbone):
  """Variables of the tiny backbone, batch-norm statistics randomised too."""
  init = jax.jit(tiny_backbone.graph().init)
  variables = init(jax.random.key(7), jnp.zeros((1, 16, 16, 3)))
  rng = np.random.default_rng(7)
  return jax.tree.map(
    lambda a: (
      np.abs(np.asarray(a) + 0.1 * rng.normal(size=a.shape)).astype(np.float32)
      if a.ndim == 1
      else np.asarray(a)
    ),
    variables,
  )


@pytest.fixture(scope='session')
def tiny_player(tiny_variables) -> Player:
  return small_runs.make_tiny_player(tiny_variables)


@pytest.fixture
def without_figures(monkeypatch):
  """A quarter of what a small run takes, where nothing depends on them."""
  monkeypatch.setattr(report, 'draw_figures', lambda *arguments: None)


@pytest.fixture(scope='session')
def run_command():
  """Runs `python -m MODULE ARGUMENTS` in a folder, with changes to the environment."""
  with commands.serve() as run:
    yield run


@pytest.fixture(scope='session')
def write_legacy():
  """Writes `[(layer, [(weight, array)])]` the way Keras 2 did."""

  def write(path, layers, root='/', prefix=True):
    with h5py.File(path, 'w') as file:
      group = file.require_group(root)
      group.attrs['layer_names'] = [name.encode() for name, _ in layers]
      for name, weights in layers:
        names = [f'{name}/{w}' if prefix else w for w, _ in weights]
        layer = group.create_group(name)
        layer.attrs['weight_names'] = [n.encode() for n in names]
        for weight_name, (_, array) in zip(names, weights, strict=True):
          layer[weight_name] = array
    return path

  return write
