"""The user's own images as a two-class problem, from files to arrays."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from egan_jax.data import data_report, image_files, image_folder, image_storage, sources
from egan_jax.data.image_files import decode
from egan_jax.errors import UserError

SHARED = os.environ.get('EGAN_SHARED')
SIZE = 8


def _save(path, seed, size=(10, 12)):
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(seed)
  Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)


def _make(root, train=(12, 40), test=None):
  """`few` and `many`, no two images alike."""
  for split, counts in (('train', train), ('test', test or ())):
    for label, count in zip(('few', 'many'), counts, strict=False):
      for index in range(count):
        seed = [index, len(split), len(label)]
        _save(root / split / label / f'{index:03}.png', seed)
  return root


def _load(source, **options):
  return image_folder.load(str(source), image_size=SIZE, **options)


def _check(classes, root):
  """Every array holds what its paths hold, in order."""
  for images, indices, paths in (
    (classes.minority, classes.minority_indices, classes.minority_paths),
    (classes.majority, classes.majority_indices, classes.majority_paths),
    (classes.test, classes.test_indices, classes.test_paths),
  ):
    assert images.dtype == np.uint8
    assert images.shape == (len(paths), SIZE, SIZE, 3)
    assert indices.shape == (len(paths),)
    for image, path in zip(images, paths, strict=True):
      np.testing.assert_array_equal(image, decode(root / path, SIZE))
  assert classes.test_is_minority.dtype == bool
  for path, is_minority in zip(
    classes.test_paths, classes.test_is_minority, strict=True
  ):
    assert path.split('/')[1] == ('few' if is_minority else 'many')
  assert {path.split('/')[1] for path in classes.minority_paths} == {'few'}
  assert {path.split('/')[1] for path in classes.majority_paths} == {'many'}


def test_folder_with_a_test_split(tmp_path):
  classes = _load(_make(tmp_path, (3, 7), (2, 5)))
  assert (classes.minority_class, classes.majority_class) == ('few', 'many')
  _check(classes, tmp_path)
  assert classes.minority_paths == tuple(f'train/few/{i:03}.png' for i in range(3))
  np.testing.assert_array_equal(classes.minority_indices, range(3))
  np.testing.assert_array_equal(classes.majority_indices, range(3, 10))
  np.testing.assert_array_equal(classes.test_indices, range(7))
  assert classes.test_is_minority.sum() == 2
  assert classes.missing_from_test == ()
  assert not classes.report['test_is_held_out']
  assert classes.report['counts'] == {
    'train': {'few': 3, 'many': 7},
    'test': {'few': 2, 'many': 5},
  }
  json.dumps(classes.report)


def test_swapped_classes(tmp_path):
  root = _make(tmp_path, (3, 7), (2, 5))
  classes = _load(root)
  swapped = _load(root, minority_class='many')
  assert (swapped.minority_class, swapped.majority_class) == ('many', 'few')
  np.testing.assert_array_equal(swapped.minority, classes.majority)
  np.testing.assert_array_equal(swapped.majority_indices, classes.minority_indices)
  np.testing.assert_array_equal(swapped.test_is_minority, ~classes.test_is_minority)


def test_csv_is_the_folder_it_lists(tmp_path):
  root = _make(tmp_path / 'images', (3, 7), (2, 5))
  expected = _load(root)
  rows = ['path,label,split']
  for path in image_files.find_images(root):
    name = path.relative_to(root).as_posix()
    split, label, _ = name.split('/')
    rows.append(f'{name},{label},{split}')
  (root / 'all.csv').write_text('\n'.join(rows))
  classes = _load(root / 'all.csv')
  for field in ('minority', 'majority', 'test', 'test_is_minority', 'test_paths'):
    np.testing.assert_array_equal(getattr(classes, field), getattr(expected, field))
  assert classes.report['duplicates'] == expected.report['duplicates']


def test_hold_out_is_stratified_and_of_all_images(tmp_path):
  root = _make(tmp_path, (12, 40))
  classes = _load(root)
  _check(classes, root)
  assert classes.test_is_minority.sum() == 12 // 5
  assert (~classes.test_is_minority).sum() == 40 // 5
  paths = [*classes.minority_paths, *classes.majority_paths, *classes.test_paths]
  assert len(paths) == len(set(paths)) == 52
  indices = np.concatenate(
    [classes.minority_indices, classes.majority_indices, classes.test_indices]
  )
  np.testing.assert_array_equal(np.sort(indices), range(52))
  assert classes.report['test_is_held_out']


def test_hold_out_does_not_depend_on_the_size_that_images_are_decoded_to(tmp_path):
  rng = np.random.default_rng(0)
  for index in range(25):
    path = (
      tmp_path / 'train' / ('few', 'many')[index % 2 or index == 24] / f'{index}.jpg'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  small, large = (
    image_folder.load(str(tmp_path), image_size=size).test_paths for size in (8, 64)
  )
  assert small == large and len(small) == 4


def test_hold_out_follows_the_seed(tmp_path):
  root = _make(tmp_path, (12, 40))
  first, again, other = (_load(root, seed=seed).test_paths for seed in (0, 0, 1))
  assert first == again
  assert first != other


@pytest.mark.parametrize(
  ('counts', 'held', 'missing'),
  [
    ((9, 40), (0, 8), ('few',)),
    ((1, 5), (0, 1), ('few',)),
    ((1, 4), (0, 0), ('few', 'many')),
    ((10, 11), (2, 2), ()),
  ],
)
def test_few_images_are_all_trained_on(counts, held, missing, tmp_path):
  classes = _load(_make(tmp_path, counts))
  assert len(classes.minority) == counts[0] - held[0]
  assert len(classes.majority) == counts[1] - held[1]
  assert classes.test.shape == (sum(held), SIZE, SIZE, 3)
  assert classes.missing_from_test == missing
  text = data_report.describe(classes.report)
  assert ('metrics cannot be computed' in text) == bool(missing)


def test_test_split_of_one_class(tmp_path):
  classes = _load(_make(tmp_path, (12, 40), (0, 3)))
  assert classes.test.shape[0] == 3
  assert classes.missing_from_test == ('few',)
  assert not classes.report['test_is_held_out']


def test_test_split_of_other_classes_alone(tmp_path):
  root = _make(tmp_path, (12, 40))
  for split in ('train', 'test'):
    _save(root / split / 'other' / '0.png', 999)
  classes = _load(root, minority_class='few', majority_class='many')
  assert classes.report['test_is_held_out'] and not classes.missing_from_test


@pytest.mark.parametrize('seed', range(20))
def test_images_of_both_classes_are_not_held_out(seed):
  rng = np.random.default_rng(seed)
  is_minority = np.arange(300) < 60
  fingerprints = np.array(
    [*rng.permutation(200)[:60], *rng.permutation(400)[:240]], str
  )
  held = image_folder.hold_out(seed, is_minority, fingerprints, fingerprints)
  for of_class in (is_minority, ~is_minority):
    assert held[of_class].sum() == of_class.sum() // 5
  contradicted = set(fingerprints[is_minority]) & set(fingerprints[~is_minority])
  assert contradicted and not contradicted & set(fingerprints[held])


@pytest.mark.parametrize('own_test', [False, True])
def test_a_training_image_counts_once(own_test, tmp_path):
  root = _make(tmp_path, (12, 40), *([(2, 5)] if own_test else []))
  expected = _load(root)
  for name in ('few/000', 'many/007', 'many/008'):
    for copy in range(3):
      shutil.copy(root / f'train/{name}.png', root / f'train/{name}_{copy}.png')
  classes = _load(root)
  for field in ('minority', 'majority', 'test', 'test_is_minority', 'minority_paths'):
    np.testing.assert_array_equal(getattr(classes, field), getattr(expected, field))
  assert classes.report['counts'] == expected.report['counts']
  found = classes.report['duplicates']
  assert (found['within_train']['groups'], found['within_train']['images']) == (3, 12)
  assert found['across_train_and_test']['groups'] == 0


def test_hold_out_of_a_class_does_not_depend_on_the_other():
  is_minority = np.arange(100) < 30
  names = np.arange(100).astype(str)
  held = image_folder.hold_out(3, is_minority, names, names)
  fewer = image_folder.hold_out(3, is_minority[:60], names[:60], names[:60])
  np.testing.assert_array_equal(held[:30], fewer[:30])


def test_copies_are_reported_where_they_are(tmp_path):
  root = _make(tmp_path, (3, 7), (2, 5))
  image = Image.open(root / 'train/many/000.png')
  image.save(root / 'train/many/copy.bmp')
  image.save(root / 'train/few/wrong.tif')
  image.save(root / 'test/many/leak.webp', lossless=True)
  duplicates = _load(root).report['duplicates']
  assert duplicates['within_train']['examples'] == [
    ['train/many/000.png', 'train/many/copy.bmp']
  ]
  everywhere = {
    'train/few/wrong.tif',
    'train/many/000.png',
    'train/many/copy.bmp',
    'test/many/leak.webp',
  }
  for kind in ('across_classes', 'across_train_and_test'):
    assert set(duplicates[kind]['examples'][0]) == everywhere


def test_unreadable_files_are_left_out_and_told(tmp_path, monkeypatch):
  root = _make(tmp_path / 'images', (3, 120), (2, 5))
  (root / 'train/many/007.png').write_bytes(b'')
  classes = _load(root)
  _check(classes, root)
  assert len(classes.majority) == 119
  # The others stay where they were.
  assert 'train/many/007.png' not in classes.majority_paths
  np.testing.assert_array_equal(
    classes.majority_indices, np.delete(np.arange(3, 123), 7)
  )
  assert classes.report['unreadable'] == [
    {'path': 'train/many/007.png', 'reason': 'is empty'}
  ]
  monkeypatch.setattr(data_report.tempfile, 'tempdir', str(tmp_path))
  with pytest.raises(UserError, match=r'1 of 130 .*config\.strict.*007\.png is empty'):
    _load(root, strict=True)
  (root / 'test/many/003.png').write_text('no image')
  with pytest.raises(UserError, match=r'2 of 130 .*more than 1%'):
    _load(root)


def test_the_only_minority_image_is_unreadable(tmp_path):
  root = _make(tmp_path, (1, 120))
  (root / 'train/few/000.png').write_bytes(b'no image')
  with pytest.raises(UserError, match="no training image of class 'few' can be read"):
    _load(root)


def test_other_classes_are_not_read(tmp_path):
  root = _make(tmp_path, (3, 7), (2, 5))
  for index in range(4):
    path = root / 'train' / 'damaged' / f'{index}.png'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'no image')
  classes = _load(root, minority_class='few', majority_class='many', strict=True)
  assert len(classes.majority) == 7
  assert classes.report['ignored'] == {'of other classes': 4}


def test_images_larger_than_memory(tmp_path, monkeypatch):
  root = _make(tmp_path, (12, 40))
  expected = _load(root)
  monkeypatch.setattr(image_storage, 'available_memory', lambda: 0)
  classes = _load(root)
  for field in ('minority', 'majority', 'test'):
    array = getattr(classes, field)
    assert isinstance(array.base, np.memmap)
    np.testing.assert_array_equal(array, getattr(expected, field))


def test_any_size_and_aspect(tmp_path):
  for index, size in enumerate([(3, 50), (50, 3), (8, 8), (1, 1), (300, 200)]):
    _save(
      tmp_path / 'train' / ('few' if index < 2 else 'many') / f'{index}.png',
      index,
      size,
    )
  classes = _load(tmp_path)
  _check(classes, tmp_path)
  assert classes.report['width'] == {'min': 1, 'median': 8.0, 'max': 200}
  assert classes.report['height'] == {'min': 1, 'median': 8.0, 'max': 300}


@pytest.mark.slow
@pytest.mark.skipif(not SHARED, reason='EGAN_SHARED is not set')
def test_chest_x_rays(capsys):
  start = time.perf_counter()
  classes = sources.load('folder', f'{SHARED}/data/chest_xray', '', '', strict=True)
  seconds = time.perf_counter() - start
  with capsys.disabled():
    print(f'\n{5840 / seconds:.0f} images per second')
    print(data_report.describe(classes.report))
  assert (classes.minority_class, classes.majority_class) == ('NORMAL', 'PNEUMONIA')
  assert classes.minority.shape == (1340, 224, 224, 3)
  assert classes.majority.shape == (3850, 224, 224, 3)
  assert classes.test.shape == (624, 224, 224, 3)
  assert classes.test_is_minority.sum() == 234
  assert classes.report['unreadable'] == []
  assert classes.report['duplicates']['across_classes']['groups'] == 0
