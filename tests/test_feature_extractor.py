"""Pooled features of several backbones as one pytree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import feature_extractor, features, pretrained
from egan_jax.backbones.graph import LayerGraph
from egan_jax.errors import UserError


def _images(count=5, size=16, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture
def load(tiny_variables, monkeypatch):
  monkeypatch.setattr(pretrained, 'load', lambda name, path=None: tiny_variables)


@pytest.fixture
def tiny(tiny_registered, load):
  return feature_extractor.make(('Tiny',), 'imagenet', 16, 'imagenet')


def _by_hand(backbone, variables, images, image_size):
  x = jax.image.resize(
    jnp.asarray(images, jnp.float32) / 255,
    (len(images), image_size, image_size, 3),
    'bilinear',
  )
  return np.asarray(backbone.graph().apply(variables, x)).mean(axis=(1, 2))


@pytest.mark.parametrize('image_size', [16, 24])
def test_features_are_the_mean_of_the_last_map(
  image_size, tiny_registered, load, tiny_backbone, tiny_variables
):
  extractor = feature_extractor.make(
    (tiny_registered,), 'imagenet', image_size, 'scale'
  )
  expected = _by_hand(tiny_backbone, tiny_variables, _images(), image_size)
  actual = feature_extractor.run(extractor, _images(), batch_size=2)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, atol=1e-5)
  np.testing.assert_allclose(
    extractor(_images() / np.float32(255)), expected, atol=1e-5
  )


def test_is_what_the_features_command_gives(tiny):
  np.testing.assert_allclose(
    feature_extractor.run(tiny, _images()),
    features.extract('Tiny', _images()),
    atol=1e-6,
  )


def test_backbones_stand_side_by_side(tiny_registered, load, tiny):
  both = feature_extractor.make(
    ('Tiny', 'SmallConvEncoder'), ('file.h5', 'none'), 16, 'scale'
  )
  other = feature_extractor.make(('SmallConvEncoder',), 'none', 16, 'scale')
  assert both.sizes == (12, 4 * 4 * 32)
  images = _images()
  np.testing.assert_allclose(
    feature_extractor.run(both, images),
    np.concatenate(
      [feature_extractor.run(extractor, images) for extractor in (tiny, other)], axis=1
    ),
    atol=1e-6,
  )


def test_each_resizes_to_its_own_size(tiny):
  trunk = tiny.trunks[0]
  two = tiny.replace(
    trunks=(trunk, trunk.replace(image_size=24)), poolings=('average', 'average')
  )
  actual = feature_extractor.run(two, _images())
  np.testing.assert_allclose(
    actual[:, 12:],
    feature_extractor.run(tiny.replace(trunks=two.trunks[1:]), _images()),
    atol=1e-6,
  )
  assert abs(actual[:, 12:] - actual[:, :12]).max() > 1e-3


def test_several_maps_of_a_backbone(tiny, tiny_backbone):
  trunk = tiny.trunks[0]
  maps = LayerGraph(tiny_backbone.layers, ('relu3', 'relu1'))
  actual = feature_extractor.run(
    tiny.replace(trunks=(trunk.replace(graph=maps),)), _images()
  )
  assert actual.shape == (5, 12 + 8)
  np.testing.assert_allclose(
    actual[:, :12], feature_extractor.run(tiny, _images()), atol=1e-6
  )


def test_mirrored_features_are_the_mean_of_both(tiny):
  mirrored = tiny.replace(mirrored=True)
  images = _images()
  expected = feature_extractor.run(tiny, images)
  expected = (expected + feature_extractor.run(tiny, images[:, :, ::-1])) / 2
  actual = feature_extractor.run(mirrored, images)
  np.testing.assert_allclose(actual, expected, atol=1e-6)
  np.testing.assert_allclose(
    feature_extractor.run(mirrored, images[:, :, ::-1]), actual, atol=1e-6
  )
  assert abs(actual - feature_extractor.run(tiny, images)).max() > 1e-4
  assert mirrored.sizes == tiny.sizes


@pytest.mark.parametrize(
  ('joined', 'part'), [('Tiny+VGG99', "'VGG99'"), ('Tiny+Tiny', 'once'), ('+', "''")]
)
def test_names_that_cannot_be_split(joined, part, tiny_registered):
  assert feature_extractor.split_names('Tiny+VGG16') == ('Tiny', 'VGG16')
  with pytest.raises(UserError, match=part):
    feature_extractor.split_names(joined)


def test_is_a_pytree(tiny):
  leaves, structure = jax.tree.flatten(tiny)
  again = jax.tree.unflatten(structure, leaves)
  images = jnp.asarray(_images()) / 255
  np.testing.assert_allclose(
    jax.jit(lambda e, x: e(x))(again, images), tiny(images), atol=1e-6
  )


@pytest.mark.parametrize(
  ('arguments', 'part'),
  [
    (((), 'none', 16, 'scale'), 'no backbone'),
    ((('VGG16',), 'none', 16, 'caffe'), "'caffe'"),
    ((('VGG16', 'VGG19'), ('none',), 16, 'scale'), '1 weights for 2 backbones'),
    ((('VGG99',), 'none', 16, 'scale'), "'VGG99'"),
  ],
)
def test_what_cannot_be_meant(arguments, part):
  with pytest.raises(UserError, match=part):
    feature_extractor.make(*arguments)


def test_class_directions_stand_one_below_the_other(monkeypatch):
  kernels = {
    'A': np.arange(6, dtype=np.float32).reshape(3, 2),
    'B': np.array([[5, 1]], np.float32),
  }

  def load(name, path):
    assert path == {'A': None, 'B': 'file.h5'}[name]
    return kernels[name], np.zeros(2)

  monkeypatch.setattr(pretrained, 'load_classifier', load)
  directions = feature_extractor.class_directions(('A', 'B'), ('imagenet', 'file.h5'))
  np.testing.assert_allclose(directions, [[-0.5, 0.5]] * 3 + [[2, -2]])


def test_no_directions_without_a_classifier(caplog, monkeypatch):
  def load(name, path):
    if name == 'B':
      raise UserError('there is none')
    return np.zeros((3, 2)), np.zeros(2)

  monkeypatch.setattr(pretrained, 'load_classifier', load)
  assert feature_extractor.class_directions(('B',), 'imagenet') is None
  assert feature_extractor.class_directions(('A',), 'none') is None
  assert feature_extractor.class_directions(('A',), 'imagenet') is not None
  assert not caplog.records
  assert feature_extractor.class_directions(('A', 'B'), 'imagenet') is None
  assert 'there is none' in caplog.text
  assert feature_extractor.class_directions(('A', 'B'), ('x.h5', 'none')) is None
  assert 'B has random weights' in caplog.text
