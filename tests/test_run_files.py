"""Files of a workdir: whole or not there, and always valid JSON."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import run_files
from egan_jax.errors import UserError


def reject_constant(name):
  raise AssertionError(f'{name} is not JSON')


def test_json_is_sorted_indented_and_plain(tmp_path):
  path = tmp_path / 'summary.json'
  run_files.write_json(
    path,
    {'b': np.float32(0.5), 'a': (np.arange(2), jnp.ones(())), 'c': np.bool_(True)},
  )
  text = path.read_text()
  assert json.loads(text) == {'a': [[0, 1], 1.0], 'b': 0.5, 'c': True}
  assert text.startswith('{\n  "a": [') and text.endswith('}\n')


def test_nan_and_infinity_become_null(tmp_path):
  path = tmp_path / 'summary.json'
  value = {'x': float('nan'), 'y': [np.inf, {'z': np.array([1.0, -np.inf])}]}
  run_files.write_json(path, value)
  read = json.loads(path.read_text(), parse_constant=reject_constant)
  assert read == {'x': None, 'y': [None, {'z': [1.0, None]}]}
  run_files.append_records(tmp_path / 'metrics.jsonl', [{'epoch': 1, 'f1': np.nan}])
  assert run_files.read_records(tmp_path / 'metrics.jsonl') == [
    {'epoch': 1, 'f1': None}
  ]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
  path = tmp_path / 'summary.json'
  run_files.write_json(path, {'old': 1})
  with pytest.raises(TypeError):
    run_files.write_json(path, {'new': object()})

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError, match='disk full'):
    run_files.write_json(path, {'new': 2})
  assert json.loads(path.read_text()) == {'old': 1}
  assert os.listdir(tmp_path) == ['summary.json']


def make_records(epochs, folds=2):
  return [
    {'fold': fold, 'epoch': epoch, 'f1': 0.5}
    for epoch in epochs
    for fold in range(folds)
  ]


def test_records_append_and_read_back(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  assert run_files.read_records(path) == []
  for epoch in (1, 2):
    run_files.append_records(path, make_records([epoch]))
  assert run_files.read_records(path) == make_records([1, 2])
  assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize('cut', [1, 2, 10, 33, 34])
def test_a_torn_last_line_is_dropped_wherever_it_tore(tmp_path, cut):
  path = tmp_path / 'metrics.jsonl'
  run_files.append_records(path, make_records([1, 2]))
  assert len(path.read_bytes().splitlines()[-1]) == 34
  path.write_bytes(path.read_bytes()[:-cut])
  whole = make_records([1, 2])
  expected = whole if cut == 1 else whole[:-1]  # cut 1 took the line's end alone
  assert run_files.read_records(path) == expected

  run_files.truncate_records(path, 1)
  run_files.append_records(path, make_records([2]))
  assert run_files.read_records(path) == whole


def test_truncate_keeps_epochs_up_to_the_last(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  run_files.append_records(path, make_records([1, 2, 3]))
  run_files.truncate_records(path, 2)
  assert run_files.read_records(path) == make_records([1, 2])
  run_files.truncate_records(path, 0)
  assert run_files.read_records(path) == []
  assert os.listdir(tmp_path) == ['metrics.jsonl']


def test_truncate_starts_a_fresh_run(tmp_path):
  run_files.truncate_records(tmp_path / 'metrics.jsonl', 0)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == b''


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
  with pytest.raises(ValueError, match='line 2 is not JSON'):
    run_files.read_records(path)


def test_a_file_to_read_is_not_one_to_write(tmp_path):
  path, link = tmp_path / 'images.csv', tmp_path / 'link'
  link.symlink_to(tmp_path)
  run_files.check_output(path, [path])  # it is not there to be lost
  path.touch()
  with pytest.raises(UserError, match='one of the files to read'):
    run_files.check_output(link / 'images.csv', [tmp_path, path])
  run_files.check_output(tmp_path / 'other', [path])
  with pytest.raises(UserError, match='give one, or /dev/stdout'):
    run_files.check_output('-', [])


def test_a_pipe_without_a_name():
  """As /dev/stdout is one, in `predict --output=/dev/stdout | head`."""
  reader, writer = os.pipe()
  with run_files.open_output(f'/dev/fd/{writer}', 'w') as output:
    output.write('new')
  assert os.read(reader, 9) == b'new'
  os.close(reader), os.close(writer)


def test_a_file_that_is_open_goes_on_where_it_stands(tmp_path):
  """As the shell has it open in `predict --output=/dev/stdout >> file`."""
  file = tmp_path / 'file'
  file.write_text('precious\n')
  with file.open('a') as shell:
    with run_files.open_output(f'/dev/fd/{shell.fileno()}', 'w') as output:
      output.write('new\n')
    shell.write('later\n')
  assert file.read_text() == 'precious\nnew\nlater\n'


def test_the_standard_output_has_several_names():
  for name in ('/dev/stdout', '/dev/fd/1', '/proc/self/fd/1'):
    assert run_files.is_standard_output(name)
  for name in ('/dev/stderr', '/dev/fd/2', '/dev/null', 'stdout'):
    assert not run_files.is_standard_output(name)


def test_what_is_no_plain_file_stays_what_it_is(tmp_path):
  pipe, link, file = (tmp_path / name for name in ('pipe', 'link', 'file'))
  os.mkfifo(pipe)
  link.symlink_to(file)
  file.write_text('old')
  reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
  for path in (pipe, link):
    with run_files.open_output(path, 'w') as output:
      output.write('new')
  assert os.read(reader, 9) == b'new' and pipe.is_fifo()
  os.close(reader)
  assert link.is_symlink() and file.read_text() == 'new'
  assert len([*tmp_path.iterdir()]) == 3
