"""scikit-learn's digits as a two-class problem."""

import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from egan_jax.data import sources
from egan_jax.errors import UserError

SHARED = os.environ.get('EGAN_SHARED')


@pytest.fixture(scope='module')
def digits():
  return sources.load('digits', '', 8, 3)


def test_shapes_and_types(digits):
  for images, indices in (
    (digits.minority, digits.minority_indices),
    (digits.majority, digits.majority_indices),
    (digits.test, digits.test_indices),
  ):
    assert images.dtype == np.uint8
    assert images.shape == (len(indices), 8, 8, 3)
  assert digits.test_is_minority.dtype == bool
  assert digits.test_is_minority.shape == digits.test_indices.shape
  assert digits.test.max() == 255


def test_sizes(digits):
  """174 eights and 183 threes, 40% of each held out."""
  assert len(digits.minority) + digits.test_is_minority.sum() == 174
  assert len(digits.majority) + (~digits.test_is_minority).sum() == 183
  assert digits.test_is_minority.sum() == pytest.approx(0.4 * 174, abs=1)
  assert (~digits.test_is_minority).sum() == pytest.approx(0.4 * 183, abs=1)


def test_each_image_is_of_its_class_and_in_one_place(digits):
  images, labels = load_digits(return_X_y=True)
  # Digits may repeat: count by content and class.
  places = {}
  for name, class_images in (
    ('8', digits.minority),
    ('3', digits.majority),
    ('8', digits.test[digits.test_is_minority]),
    ('3', digits.test[~digits.test_is_minority]),
  ):
    for image in class_images:
      key = name, np.round(image[..., 0] / (255 / 16)).astype(int).tobytes()
      places[key] = places.get(key, 0) + 1
  expected = {}
  for image, label in zip(images, labels, strict=True):
    if label in (3, 8):
      key = str(label), image.reshape(8, 8).astype(int).tobytes()
      expected[key] = expected.get(key, 0) + 1
  assert places == expected


def test_indices_are_of_the_split_and_shared_by_all_classes(digits):
  assert not set(digits.minority_indices) & set(digits.majority_indices)
  other = sources.load('digits', '', 3, 8)
  np.testing.assert_array_equal(other.majority, digits.minority)
  np.testing.assert_array_equal(other.majority_indices, digits.minority_indices)
  np.testing.assert_array_equal(other.test_indices, digits.test_indices)
  np.testing.assert_array_equal(other.test_is_minority, ~digits.test_is_minority)


def test_names_and_no_files(digits):
  assert (digits.minority_class, digits.majority_class) == ('8', '3')
  assert digits.minority_paths == digits.majority_paths == digits.test_paths == ()
  assert digits.report is None
  assert digits.missing_from_test == ()


@pytest.mark.skipif(not SHARED, reason='EGAN_SHARED is not set')
def test_names_of_tfds():
  for dataset, names in (
    ('cifar10', ('automobile', 'airplane')),
    ('cifar100', ('aquarium_fish', 'apple')),
  ):
    classes = sources.load(dataset, f'{SHARED}/data/tfds', 1, 0)
    assert (classes.minority_class, classes.majority_class) == names


def test_labels_of_a_command_line(digits):
  given = sources.load('digits', '', '8', '3')
  np.testing.assert_array_equal(given.minority, digits.minority)


def test_folder(tmp_path):
  for label, count in (('0', 7), ('1', 2)):
    for index in range(count):
      path = tmp_path / 'train' / label / f'{index}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new('RGB', (30, 20), (index, int(label), 0)).save(path)
  classes = sources.load('folder', str(tmp_path), '', '', 16, seed=3, strict=True)
  assert (classes.minority_class, classes.majority_class) == ('1', '0')
  assert classes.minority.shape == (2, 16, 16, 3)
  assert len(classes.test) == 1
  # Names that a command line takes for numbers.
  assert sources.load('folder', str(tmp_path), 0, 1).minority_class == '0'


@pytest.mark.parametrize(
  ('arguments', 'parts'),
  [
    (('digits', '', 4, 4), ('minority_class', 'majority_class', '4')),
    (('digits', '', 10, 3), ("'digits'", 'class 10')),
    (('digits', '', 8, -1), ("'digits'", 'class -1')),
    (('digits', '', 'eight', 3), ("'eight'", 'no number')),
    (('mnist', '', 0, 1), ("'mnist'", 'cifar100', 'chexpert', 'digits', 'folder')),
    (('folder', '', '', ''), ('config.data_dir is empty',)),
  ],
)
def test_what_does_not_exist(arguments, parts):
  with pytest.raises(UserError) as caught:
    sources.load(*arguments)
  for part in parts:
    assert part in str(caught.value)
