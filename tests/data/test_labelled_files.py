"""Folders and CSV files of classes: what is listed, and what is said of mistakes."""

import os

import pytest

from egan_jax import predictor
from egan_jax.data import labelled_files
from egan_jax.data.labelled_files import NOT_CLASSES, choose_classes, list_files
from egan_jax.errors import UserError


def _touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


def _choose(folder, minority='', majority=''):
  return choose_classes(list_files(str(folder)), str(folder), minority, majority)


def _message(function, *arguments):
  with pytest.raises(UserError) as caught:
    function(*arguments)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_folder(tmp_path):
  _touch(
    tmp_path,
    'train/cat/2.png',
    'train/cat/1.JPG',
    'train/cat/deep/3.bmp',
    'train/cat/notes.txt',
    'train/cat/.hidden.png',
    'train/dog/1.webp',
    'train/.cache/1.png',
    'train/loose.png',
    'test/dog/9.tiff',
    'other/dog/7.png',
  )
  listing = list_files(str(tmp_path))
  assert [(file.name, file.label, file.split) for file in listing.files] == [
    ('train/cat/1.JPG', 'cat', 'train'),
    ('train/cat/2.png', 'cat', 'train'),
    ('train/cat/deep/3.bmp', 'cat', 'train'),
    ('train/dog/1.webp', 'dog', 'train'),
    ('test/dog/9.tiff', 'dog', 'test'),
  ]
  assert [file.path for file in listing.files] == [
    tmp_path / file.name for file in listing.files
  ]
  assert listing.labels == ['cat', 'dog']
  assert listing.ignored == {
    'hidden': 2,
    '.txt': 1,
    'in no class folder': 1,
  }


def test_csv(tmp_path):
  _touch(tmp_path, 'lists/a.png', 'b.png', 'c.png')
  table = tmp_path / 'lists' / 'all.csv'
  table.write_text(
    f'label,path,split\nx,a.png,train\ny,../b.png,train\nx,{tmp_path}/c.png,test\n'
  )
  listing = list_files(str(table))
  assert [(file.name, file.label, file.split) for file in listing.files] == [
    ('a.png', 'x', 'train'),
    ('../b.png', 'y', 'train'),
    (f'{tmp_path}/c.png', 'x', 'test'),
  ]
  assert all(file.path.exists() for file in listing.files)
  assert listing.labels == ['x', 'y']
  table.write_text('path,label\na.png , x\n../b.png,y\n')
  assert {file.split for file in list_files(str(table)).files} == {'train'}


def test_home_is_found(tmp_path, monkeypatch):
  _touch(tmp_path, 'mine/train/a/1.png')
  monkeypatch.setenv('HOME', str(tmp_path))
  image = tmp_path / 'mine/train/a/1.png'
  assert list_files('~/mine').files[0].path == image
  (tmp_path / 'all.csv').write_text('path,label\n~/mine/train/a/1.png,a\n')
  assert list_files(str(tmp_path / 'all.csv')).files[0].path == image


@pytest.mark.parametrize(
  ('names', 'parts'),
  [
    (['a/1.png', 'b/1.png'], ['no folder train', 'its folders: a, b', 'train/CLASS/']),
    ([], ['no folder train', 'none']),
    (['train/1.png'], ['train has no class folders', 'train/CLASS/']),
    (['train/a/1.png', 'test/b.png'], ['test has no images', 'held out']),
    (['train/a/1.png', 'train/b/1.png', 'Test/a/1.png'], ['Test must be called test']),
    (
      ['train/a/1.png', 'train/b/1.png', 'test/c/1.png', 'test/a/1.png'],
      ['test has test images of c,', 'the classes in training are a, b'],
    ),
  ],
)
def test_folders_with_mistakes(names, parts, tmp_path):
  _touch(tmp_path, *names)
  message = _message(list_files, str(tmp_path))
  for part in [str(tmp_path), *parts]:
    assert part in message


@pytest.mark.parametrize(
  ('content', 'parts'),
  [
    ('a.png,x\nb.png,y\n', ['must name the columns path,label', "'a.png,x'"]),
    ('path;label\na.png;x\n', ['separated by commas', "'path;label'"]),
    ('path,label\na.png,\n', ['line 2: label is empty']),
    ('path,label,split\na.png,x,train\nb.png,y,val\n', ["line 3: split is 'val'"]),
    (
      'path,label\na.png,x\nno.png,y\nnor.png,y\n',
      ['2 of 3 files are not there', 'no.png (line 3)', 'relative to'],
    ),
    ('path,label,split\na.png,x,test\n', ['no rows whose split is train']),
    ('path,label,split\na.png,x\n', ["line 2: split is ''"]),
    ('path,label,Split\na.png,x,train\n', ['column Split must be called split']),
    ('path,label,label\na.png,x,y\n', ['names the column label twice']),
    ('path,label,split,split\na.png,x,,\n', ['names the column split twice']),
    ('path,label,split\na.png,x,train\nb.png,y,test\n', ['test images of y,']),
  ],
)
def test_csv_files_with_mistakes(content, parts, tmp_path):
  _touch(tmp_path, 'a.png', 'b.png')
  (tmp_path / 'all.csv').write_text(content)
  message = _message(list_files, str(tmp_path / 'all.csv'))
  for part in [str(tmp_path / 'all.csv'), *parts]:
    assert part in message


def test_spaces_after_a_label_make_no_class(tmp_path):
  _touch(tmp_path, 'a.png', 'b.png')
  path = tmp_path / 'list.csv'
  path.write_text('path,label,split\na.png,cat ,train \nb.png,cat,train\n')
  assert {(file.label, file.split) for file in list_files(str(path)).files} == {
    ('cat', 'train')
  }


def test_what_is_neither(tmp_path, monkeypatch):
  assert 'config.data_dir is empty' in _message(list_files, '')
  assert 'no folder or CSV file' in _message(list_files, str(tmp_path / 'nowhere'))
  _touch(tmp_path, 'images.zip', 'train/a/1.png')
  message = _message(list_files, str(tmp_path / 'images.zip'))
  assert 'neither a folder nor a .csv file' in message

  def refuse(path):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(os, 'scandir', refuse)
  assert 'Permission denied' in _message(list_files, str(tmp_path))
  monkeypatch.setattr(labelled_files.Path, 'is_dir', refuse)
  message = _message(list_files, str(tmp_path))
  assert message == f'cannot read {tmp_path}: Permission denied'


@pytest.fixture
def animals(tmp_path):
  _touch(
    tmp_path, *(f'train/{name}' for name in ('cat/1.png', 'cat/2.png', 'dog/1.png'))
  )
  return tmp_path


@pytest.mark.parametrize(
  ('asked', 'expected'),
  [
    (('', ''), ('dog', 'cat')),
    (('cat', ''), ('cat', 'dog')),
    (('', 'dog'), ('cat', 'dog')),
    (('dog', 'cat'), ('dog', 'cat')),
  ],
)
def test_the_rarer_is_the_minority_unless_said_otherwise(asked, expected, animals):
  # Test images do not make a class frequent.
  _touch(animals, *(f'test/dog/{index}.png' for index in range(9)))
  assert _choose(animals, *asked) == expected


def test_two_of_three_classes(animals):
  _touch(animals, 'train/eel/1.png')
  assert _choose(animals, 'eel', 'cat') == ('eel', 'cat')
  message = _message(_choose, animals)
  for part in ('cat, dog, eel', 'minority_class', 'majority_class', 'more than two'):
    assert part in message
  assert 'more than two' in _message(_choose, animals, 'eel')


@pytest.mark.parametrize(
  ('asked', 'parts'),
  [
    (('cow', ''), ["no class 'cow'", 'cat, dog']),
    (('dog', 'cow'), ["no class 'cow'", 'cat, dog']),
    (('dog', 'dog'), ["both 'dog'"]),
  ],
)
def test_classes_that_cannot_be_chosen(asked, parts, animals):
  message = _message(_choose, animals, *asked)
  for part in parts:
    assert part in message


@pytest.mark.parametrize('name', NOT_CLASSES)
def test_what_predict_says_beside_the_classes_is_no_class(name, animals):
  assert {*NOT_CLASSES} == {predictor.ABSTAIN, predictor.UNREADABLE}
  _touch(animals, f'train/{name}/1.png')
  assert _choose(animals, 'dog', 'cat') == ('dog', 'cat')
  assert f'no class can be called {name!r}' in _message(_choose, animals, name, 'cat')


def test_classes_that_are_too_few_or_too_even(tmp_path):
  _touch(tmp_path, 'train/a/1.png')
  assert "only one class in training, 'a'" in _message(_choose, tmp_path)
  (tmp_path / 'train' / 'b').mkdir()
  assert "class 'b' has no training images (png" in _message(_choose, tmp_path)
  _touch(tmp_path, 'train/b/2.png')
  message = _message(_choose, tmp_path)
  assert '1 training images each' in message
  assert '--config.minority_class' in message
