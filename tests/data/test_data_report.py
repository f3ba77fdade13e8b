"""What is said of a folder before training, counted by hand."""

import json
import os
from pathlib import Path

import pytest

from egan_jax.data import data_report
from egan_jax.data.data_report import Record
from egan_jax.data.image_files import ImageFacts
from egan_jax.errors import UserError


def _record(
  name, label, split, sha256=None, width=10, height=20, mode='RGB', brightest=64, **of
):
  facts = ImageFacts(width, height, mode, brightest, sha256 or name, '')
  return Record(name, label, split, facts, **of)


def _make(records, unreadable=(), ignored=None, held_out=False):
  return data_report.make(
    'DIR', 'rare', 'many', records, unreadable, ignored or {}, held_out
  )


RECORDS = [
  _record('a', 'rare', 'train', 'same', width=4, mode='L', brightest=63),
  _record('b', 'many', 'train', 'same', width=8),
  _record('c', 'many', 'train', 'twin', width=16),
  _record('d', 'many', 'train', 'twin', width=16, is_copy=True),
  _record('e', 'many', 'train', 'leak', height=7),
  _record('f', 'many', 'test', 'leak', width=100, height=50),
  _record('g', 'rare', 'test'),
  _record('h', 'many', 'test', 'tested twice'),
  _record('i', 'many', 'test', 'tested twice'),
]


def test_every_number():
  report = _make(RECORDS, [('x.png', 'is empty')], {'hidden': 3})
  assert report == {
    'source': 'DIR',
    'minority_class': 'rare',
    'majority_class': 'many',
    'test_is_held_out': False,
    'counts': {'train': {'rare': 1, 'many': 3}, 'test': {'rare': 1, 'many': 3}},
    'ratio': 3.0,
    'width': {'min': 4, 'median': 10.0, 'max': 100},
    'height': {'min': 7, 'median': 20.0, 'max': 50},
    'modes': {'RGB': 8, 'L': 1},
    'nearly_black': {'images': 1, 'examples': ['a']},
    'duplicates': {
      'within_train': {'groups': 1, 'images': 2, 'examples': [['c', 'd']]},
      'within_test': {'groups': 1, 'images': 2, 'examples': [['h', 'i']]},
      'across_classes': {'groups': 1, 'images': 2, 'examples': [['a', 'b']]},
      'across_train_and_test': {'groups': 1, 'images': 2, 'examples': [['e', 'f']]},
    },
    'unreadable': [{'path': 'x.png', 'reason': 'is empty'}],
    'ignored': {'hidden': 3},
  }
  assert json.loads(json.dumps(report)) == report


def test_examples_are_bounded_and_counts_are_not():
  records = [
    _record(f'{group}-{copy}', 'many', 'train', str(group), is_copy=copy > 0)
    for group in range(30)
    for copy in range(25)
  ]
  found = _make(records)['duplicates']['within_train']
  assert (found['groups'], found['images']) == (30, 750)
  assert [len(names) for names in found['examples']] == [10] * 10


def test_text():
  text = data_report.describe(_make(RECORDS, [('x.png', 'is empty')], {'hidden': 3}))
  lines = [line.split() for line in text.splitlines()]
  assert ['rare', 'minority', '1', '1'] in lines
  assert ['many', 'majority', '3', '3'] in lines
  for part in (
    'images of DIR',
    'one minority image to 3 majority images',
    'min 4 x 7, median 10 x 20, max 100 x 50',
    'modes: 8 RGB, 1 L',
    '1 nearly black (scale up what uses 12 bits of 16), such as a\n',
    '2 images identical in training, used once, such as c = d',
    '2 images identical under both labels, such as a = b',
    '2 images identical in train and test (leaks), such as e = f',
    '1 unreadable, left out:\n    x.png is empty',
    'files ignored: 3 hidden',
  ):
    assert part in text
  assert 'held out' not in text
  assert 'cannot be computed' not in text


def test_a_minority_that_is_not_the_rarer_class_is_remarked_on():
  records = [_record(str(i), 'rare', 'train', str(i)) for i in range(3)]
  text = data_report.describe(_make([*records, _record('m', 'many', 'train')]))
  assert 'rare was asked for as the minority and is not the rarer class' in text
  assert 'asked for' not in data_report.describe(_make(RECORDS))


def test_text_of_what_is_clean():
  text = data_report.describe(_make([RECORDS[1], RECORDS[2]], held_out=True))
  assert 'no two images are identical' in text
  assert 'held out of train' in text
  assert 'no test images of rare and many: metrics cannot be computed' in text
  for part in ('unreadable', 'ignored', 'black'):
    assert part not in text


@pytest.mark.parametrize(
  ('num_unreadable', 'num_files', 'strict', 'fails'),
  [
    (0, 5, True, False),
    (1, 100, False, False),
    (1, 99, False, True),
    (2, 200, False, False),
    (3, 200, False, True),
    (1, 10**6, True, True),
  ],
)
def test_too_many_unreadable_files(
  num_unreadable, num_files, strict, fails, tmp_path, monkeypatch
):
  monkeypatch.setattr(data_report.tempfile, 'tempdir', str(tmp_path))
  unreadable = [(f'{index}.png', 'is empty') for index in range(num_unreadable)]
  if not fails:
    data_report.check_readable(unreadable, num_files, strict)
    assert not list(tmp_path.iterdir())
    return
  with pytest.raises(UserError) as caught:
    data_report.check_readable(unreadable, num_files, strict)
  message = str(caught.value)
  assert f'{num_unreadable} of {num_files} images cannot be read' in message
  assert ('config.strict' if strict else 'more than 1%') in message
  assert 'the first: 0.png is empty' in message
  assert '\n' not in message
  (file,) = tmp_path.iterdir()
  assert str(file) in message
  expected = ''.join(f'{name} {reason}\n' for name, reason in unreadable)
  assert Path(file).read_text() == expected


def test_an_unreadable_file_whose_name_is_not_utf_8(tmp_path, monkeypatch):
  monkeypatch.setattr(data_report.tempfile, 'tempdir', str(tmp_path))
  with pytest.raises(UserError, match='1 of 1 images cannot be read'):
    data_report.check_readable([(os.fsdecode(b'\xe4.png'), 'is empty')], 1, False)
  (file,) = tmp_path.iterdir()
  assert file.read_bytes() == b'\xe4.png is empty\n'


def test_a_list_that_cannot_be_written_keeps_no_message_back(tmp_path, monkeypatch):
  monkeypatch.setattr(data_report.tempfile, 'tempdir', str(tmp_path / 'gone'))
  with pytest.raises(UserError) as caught:
    data_report.check_readable([('x.png', 'is empty')], 1, False)
  for part in ('1 of 1 images', 'cannot be written (No such', 'first: x.png is empty'):
    assert part in str(caught.value)
