"""The classifier on top, from files with and without it."""

import hashlib

import numpy as np
import pytest

from egan_jax import backbones, pretrained
from egan_jax.backbones import Backbone
from egan_jax.errors import UserError
from egan_jax.pretrained import published

_RNG = np.random.default_rng(3)
KERNEL = _RNG.normal(size=(4, 7)).astype(np.float32)
BIAS = _RNG.normal(size=7).astype(np.float32)
PREDICTIONS = ('predictions', [('kernel:0', KERNEL), ('bias:0', BIAS)])


def _assert_read(loaded):
  kernel, bias = loaded
  assert kernel.dtype == bias.dtype == np.float32
  np.testing.assert_array_equal(kernel, KERNEL)
  np.testing.assert_array_equal(bias, BIAS)


def test_last_layer_of_a_keras_file(tiny, tiny_weights, write_legacy, tmp_path):
  path = write_legacy(tmp_path / 'top.h5', [*tiny_weights, PREDICTIONS])
  _assert_read(pretrained.load_classifier('Tiny', path))


def test_published_file_is_found_and_checked(
  tiny, tiny_weights, write_legacy, tmp_path, monkeypatch
):
  path = write_legacy(tmp_path / 'top.h5', [*tiny_weights, PREDICTIONS])
  monkeypatch.setenv('EGAN_WEIGHTS_DIR', str(tmp_path))
  entry = published.Published(
    'top.h5', f'md5:{hashlib.md5(path.read_bytes()).hexdigest()}'
  )
  monkeypatch.setitem(published.CLASSIFIERS, 'Tiny', entry)
  _assert_read(pretrained.load_classifier('Tiny'))
  path.write_bytes(path.read_bytes() + b' ')
  with pytest.raises(UserError, match='damaged'):
    pretrained.load_classifier('Tiny')


def test_file_of_torch(tiny, torch_file, tmp_path):
  path = tmp_path / 'top.pth'
  state = {'_fc.weight': np.ascontiguousarray(KERNEL.T), '_fc.bias': BIAS}
  path.write_bytes(torch_file(state))
  _assert_read(pretrained.load_classifier('Tiny', path))


def test_file_without_the_top(tiny, tiny_weights, write_legacy, tmp_path):
  path = write_legacy(tmp_path / 'notop.h5', tiny_weights)
  with pytest.raises(UserError, match='no classifier on top'):
    pretrained.load_classifier('Tiny', path)


def test_classifier_of_another_backbone(tiny, tiny_weights, write_legacy, tmp_path):
  other = (
    'predictions',
    [('kernel:0', _RNG.normal(size=(5, 7)).astype(np.float32)), ('bias:0', BIAS)],
  )
  path = write_legacy(tmp_path / 'top.h5', [*tiny_weights, other])
  with pytest.raises(UserError, match='Tiny has 4 features'):
    pretrained.load_classifier('Tiny', path)


@pytest.mark.parametrize('name', ['VGG16', 'SmallConvEncoder'])
def test_backbones_whose_classifier_is_no_single_layer(name):
  with pytest.raises(UserError, match='no published ImageNet classifier'):
    pretrained.load_classifier(name)


def test_published_classifier_knows_which_classes_are_alike():
  """Classes 151 to 268 of ImageNet are dogs, and like other dogs most."""
  kernel, bias = pretrained.load_classifier('EfficientNetLite0')
  assert kernel.shape == (1280, 1000)
  assert bias.shape == (1000,)
  directions = kernel / np.linalg.norm(kernel, axis=0)
  alike = directions.T @ directions
  np.fill_diagonal(alike, -1)
  nearest = alike[151:269].argmax(axis=1)
  assert np.mean((nearest >= 151) & (nearest <= 268)) > 0.9


def test_every_backbone_with_a_classifier_exists():
  for name, file in published.CLASSIFIERS.items():
    assert isinstance(backbones.get(name), Backbone)
    assert not file.filename.endswith('notop.h5')
