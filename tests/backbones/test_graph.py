import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.backbones import graph
from egan_jax.errors import UserError


def _layers():
  """A small network with a skip that spans several layers."""
  table = graph.LayerTable()
  table.add('conv1', 'convolution', features=4, size=3, padding='SAME')
  skip = table.add('bn1', 'batch_norm', epsilon=1e-3)
  table.add('relu1', 'relu')
  table.add('conv2', 'convolution', features=4, size=1)
  new = table.add('relu2', 'relu')
  table.add('concat', 'concatenate', skip, new)
  table.add('pool', 'average_pool', size=2)
  return table.layers


LAYERS = _layers()


@pytest.mark.parametrize(
  'cut, names',
  [
    (0, ('input_layer',)),
    (1, ('input_layer',)),
    (2, ('conv1',)),
    (3, ('bn1',)),
    (4, ('bn1', 'relu1')),
    (6, ('bn1', 'relu2')),
    (7, ('concat',)),
    (8, ('pool',)),
  ],
)
def test_boundary_names(cut, names):
  assert graph.boundary_names(LAYERS, cut) == names


@pytest.mark.parametrize('cut', [-1, 9])
def test_boundary_names_outside(cut):
  with pytest.raises(ValueError, match='outside'):
    graph.boundary_names(LAYERS, cut)


@pytest.mark.parametrize('cut', range(len(LAYERS) + 1))
def test_trunk_and_head_are_the_whole(cut):
  images = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
  whole = graph.LayerGraph(LAYERS, LAYERS[-1].name)
  variables = whole.init(jax.random.key(1), images)
  trunk, head = graph.split(LAYERS, cut)
  boundary = trunk.apply(variables, images)
  np.testing.assert_array_equal(
    head.apply(variables, boundary), whole.apply(variables, images)
  )


@pytest.mark.parametrize('cut', [0, 1, 5, len(LAYERS)])
def test_trunk_and_head_variables_partition_the_whole(cut):
  images = jnp.zeros((1, 6, 6, 3))
  key = jax.random.key(0)
  whole = graph.LayerGraph(LAYERS, LAYERS[-1].name).init(key, images)
  trunk, head = graph.split(LAYERS, cut)
  boundary, of_trunk = trunk.init_with_output(key, images)
  of_head = head.init(key, boundary)
  for collection, variables in whole.items():
    parts = [part.get(collection, {}) for part in (of_trunk, of_head)]
    assert not set(parts[0]) & set(parts[1])
    assert set(parts[0]) | set(parts[1]) == set(variables)


def test_two_layers_of_one_name():
  table = graph.LayerTable()
  table.add('relu', 'relu')
  with pytest.raises(ValueError, match='relu'):
    table.add('relu', 'relu')


def test_train_matters_only_from_scratch():
  def run(from_scratch):
    table = graph.LayerTable()
    table.add('bn', 'batch_norm', epsilon=1e-3, from_scratch=from_scratch)
    module = graph.LayerGraph(table.layers, 'bn')
    x = 3 + jax.random.normal(jax.random.key(0), (4, 2, 2, 3))
    variables = module.init(jax.random.key(0), x)
    y, updates = module.apply(variables, x, train=True, mutable=['batch_stats'])
    return x, y, variables['batch_stats'], updates.get('batch_stats')

  x, y, before, after = run(from_scratch=False)
  np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-3), rtol=1e-5)
  np.testing.assert_array_equal(after['bn']['mean'], before['bn']['mean'])
  _, y, before, after = run(from_scratch=True)
  np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(after['bn']['mean'], 0.01 * x.mean((0, 1, 2)), rtol=1e-4)


def test_images_too_small_for_a_layer_are_refused():
  layers = graph.LayerGraph(LAYERS, 'pool')
  layers.init(jax.random.key(0), jnp.zeros((1, 2, 2, 3)))
  with pytest.raises(UserError, match='layer pool leaves nothing of images so small'):
    layers.init(jax.random.key(0), jnp.zeros((1, 1, 1, 3)))
