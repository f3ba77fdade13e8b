import jax
import keras
import numpy as np
import pytest

from egan_jax import backbones
from egan_jax.backbones import preprocessing

_KERAS_MODULES = {
  'DenseNet121': keras.applications.densenet,
  'VGG16': keras.applications.vgg16,
  'VGG19': keras.applications.vgg19,
  'ResNet101': keras.applications.resnet,
  'EfficientNetB2': keras.applications.efficientnet,
}


@pytest.mark.parametrize('name', _KERAS_MODULES)
def test_mode_is_keras_preprocess_input(name):
  images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  theirs = _KERAS_MODULES[name].preprocess_input(images.astype(np.float32))
  mode = preprocessing.IMAGENET_MODES[backbones.get(name).preprocessing]
  ours = mode(preprocessing.to_unit_range(images))
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize('name', backbones.names())
def test_every_backbone_has_a_mode(name):
  assert backbones.get(name).preprocessing in preprocessing.IMAGENET_MODES


def test_unit_range():
  images = np.array([0, 51, 255], np.uint8)
  unit = preprocessing.to_unit_range(images)
  assert unit.dtype == np.float32
  np.testing.assert_allclose(unit, [0, 0.2, 1], rtol=1e-6)


def test_resize():
  images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
  assert preprocessing.resize(images, 8) is images
  assert preprocessing.resize(images, 12).shape == (2, 12, 12, 3)
  # Antialiased: a checkerboard becomes grey, where every other pixel would be 0.
  checkerboard = np.indices((8, 8)).sum(0)[None, :, :, None] % 2 * np.ones((1, 1, 1, 3))
  half = preprocessing.resize(checkerboard, 4)
  np.testing.assert_allclose(half, 0.5, atol=0.05)
