import os

# Before Keras is imported anywhere: the peers of the parity tests run on JAX.
os.environ['KERAS_BACKEND'] = 'jax'

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import backbones
from egan_jax.backbones import Backbone
from egan_jax.backbones.graph import LayerTable


def _tiny_layers():
  """Seven layers with every kind of frozen variable and a branch across cuts."""
  table = LayerTable()
  table.add('conv1', 'convolution', features=8, size=3, strides=2, padding='SAME')
  table.add('bn1', 'batch_norm', epsilon=1e-3)
  branch = table.add('relu1', 'relu')
  table.add('pool1', 'max_pool', size=2, strides=2)
  table.add('conv2', 'convolution', features=8, size=3, padding='SAME')
  table.add('bn2', 'batch_norm', epsilon=1e-3)
  pooled = table.add('relu2', 'relu')
  table.add('pool2', 'max_pool', branch, size=2, strides=2)
  table.add('concat', 'concatenate', pooled, 'pool2')
  table.add('conv3', 'convolution', features=12, size=1)
  table.add('bn3', 'batch_norm', epsilon=1e-3)
  table.add('relu3', 'relu')
  return table.layers


@pytest.fixture(scope='session')
def tiny_backbone() -> Backbone:
  return Backbone('Tiny', _tiny_layers(), preprocessing='none')


@pytest.fixture
def tiny_registered(monkeypatch, tiny_backbone) -> str:
  """Registers the tiny backbone under its name for one test."""
  get = backbones.get
  monkeypatch.setattr(
    backbones, 'get', lambda name: tiny_backbone if name == 'Tiny' else get(name)
  )
  return 'Tiny'


@pytest.fixture(scope='session')
def tiny_variables(tiny_backbone):
  """Variables of the tiny backbone, batch-norm statistics randomised too."""
  variables = tiny_backbone.graph().init(jax.random.key(7), jnp.zeros((1, 16, 16, 3)))
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
