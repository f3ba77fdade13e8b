"""Which folders a run may use."""

import errno
import json
import os

import pytest

from egan_jax import config as egan_config
from egan_jax import run_files, workdir
from egan_jax.errors import UserError

DRAWS = {'minority': [[1, 2], [3, 4]]}


@pytest.fixture
def config():
  return egan_config.default().to_dict()


def _refuse(folder, config):
  with pytest.raises(UserError) as caught:
    workdir.check(folder, config)
  message = str(caught.value)
  assert str(folder) in message
  assert '\n' not in message
  return message


def test_new_and_empty_folders(config, tmp_path):
  for folder in (tmp_path, tmp_path / 'new', tmp_path / 'some' / 'new'):
    workdir.check(folder, config)
    assert workdir.read_summary(folder) is None
  assert list(tmp_path.iterdir()) == []


def test_a_begun_run_may_go_on(config, tmp_path):
  folder = tmp_path / 'some' / 'new'
  workdir.begin(folder, config, DRAWS)
  assert json.loads((folder / 'config.json').read_text()) == config
  assert json.loads((folder / 'draws.json').read_text()) == DRAWS
  (folder / 'metrics.jsonl').touch()
  workdir.check(folder, config)
  workdir.begin(folder, config, DRAWS)
  workdir.check(folder, config)


def test_a_run_killed_as_it_begins_may_go_on(config, tmp_path, monkeypatch):
  write = run_files.write_json

  def write_and_stop(path, value):
    write(path, value)
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(run_files, 'write_json', write_and_stop)
    workdir.begin(tmp_path, config, DRAWS)
  workdir.check(tmp_path, config)


@pytest.mark.parametrize(
  ('changes', 'part'),
  [
    ({'num_epochs': 7}, '(num_epochs: num_epochs is 100 there and 7 now)'),
    ({'preprocess': 'imagenet'}, "preprocess is 'scale' there and 'imagenet' now"),
    ({'seed': 1, 'num_epochs': 7}, '(num_epochs, seed: num_epochs is 100'),
    ({'new_field': 7}, 'new_field is None there and 7 now'),
  ],
)
def test_another_config(changes, part, config, tmp_path):
  workdir.begin(tmp_path, config, DRAWS)
  (tmp_path / workdir.METRICS).touch()
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  assert part in _refuse(tmp_path, {**config, **changes})
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_came_to_nothing_leaves_the_folder_to_another(config, tmp_path):
  workdir.begin(tmp_path, {**config, 'discriminator_weights': 'mistyped.h5'}, DRAWS)
  workdir.check(tmp_path, config)
  workdir.begin(tmp_path, config, DRAWS)
  assert json.loads((tmp_path / workdir.CONFIG).read_text()) == config


@pytest.mark.parametrize(
  'field', ['majority_devices', 'images_at_once', 'activation_memory_share']
)
def test_where_a_run_is_computed_may_change(field, config, tmp_path):
  workdir.begin(tmp_path, config, DRAWS)
  workdir.check(tmp_path, {**config, field: 0.5})


def test_one_run_at_a_time(tmp_path):
  folder = tmp_path / 'some' / 'new'
  with workdir.hold(folder):
    with pytest.raises(UserError, match='another run is in it now'):
      with workdir.hold(folder):
        pass
  with workdir.hold(folder):
    assert not any(folder.iterdir())


def test_a_file_system_without_locks(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(run_files.fcntl, 'flock', refuse)
  with workdir.hold(tmp_path):
    pass


def test_what_a_kill_left_half_written_is_in_nobodys_way(config, tmp_path):
  (tmp_path / '.config.json.123.tmp').write_text('{')
  workdir.begin(tmp_path, config, DRAWS)
  (tmp_path / '.draws.json.123.tmp').write_text('{')
  workdir.check(tmp_path, {**config, 'seed': 99})


def test_another_config_came_meanwhile(config, tmp_path):
  workdir.check(tmp_path, config)
  workdir.begin(tmp_path, {**config, 'seed': 1}, DRAWS)
  run_files.write_json(tmp_path / workdir.SUMMARY, {})
  with pytest.raises(UserError, match='another config'):
    workdir.begin(tmp_path, config, DRAWS)


def test_other_images(config, tmp_path):
  """Until a game has records, they may change; then what it was told would not hold."""
  workdir.begin(tmp_path, config, DRAWS)
  changed = {**DRAWS, 'sha256': 'other'}
  workdir.begin(tmp_path, config, changed)
  (tmp_path / workdir.METRICS).touch()
  with pytest.raises(UserError, match='began with other images'):
    workdir.begin(tmp_path, config, DRAWS)
  workdir.begin(tmp_path, config, changed)
  assert run_files.holds(tmp_path / workdir.DRAWS, changed)


def test_numbers_survive_the_file(config, tmp_path):
  config = {**config, 'learning_rate': 0.1 + 0.2}
  workdir.begin(tmp_path, config, DRAWS)
  workdir.check(tmp_path, config)


def test_folder_of_something_else(config, tmp_path):
  (tmp_path / 'thesis.tex').touch()
  assert 'other files' in _refuse(tmp_path, config)


def test_damaged_files(config, tmp_path):
  workdir.begin(tmp_path, config, DRAWS)
  for name, read in (
    ('summary.json', lambda: workdir.read_summary(tmp_path)),
    ('config.json', lambda: workdir.check(tmp_path, config)),
  ):
    (tmp_path / name).write_text('{"seed": ')
    with pytest.raises(UserError, match=rf'{name} is damaged'):
      read()


def test_something_in_the_way(config, tmp_path):
  file = tmp_path / 'file'
  file.write_text('in the way')
  for folder in (file, file / 'below'):
    assert f'{file} is not a folder' in _refuse(folder, config)
    with pytest.raises(UserError, match='cannot be written to'), workdir.hold(folder):
      pass
  assert file.read_text() == 'in the way'


def test_name_that_is_too_long(config, tmp_path):
  assert 'File name too long' in _refuse(tmp_path / ('x' * 300), config)


@pytest.mark.skipif(os.getuid() == 0, reason='root may do everything')
@pytest.mark.parametrize('mode', [0o555, 0o333, 0o000])
def test_folder_without_permission(mode, config, tmp_path):
  folder = tmp_path / 'locked'
  folder.mkdir(mode=mode)
  for path in (folder, folder / 'below') if mode != 0o333 else (folder,):
    _refuse(path, config)


def test_describe_files_names_what_a_run_writes(tmp_path):
  there = ('summary.json', 'metrics.jsonl', 'scores.npz', 'draws.json', 'report.html')
  for name in there:
    (tmp_path / name).touch()
  for folder in ('figures', 'model'):
    (tmp_path / folder).mkdir()
  text = workdir.describe_files(tmp_path)
  for name in (*there, 'figures', 'model'):
    assert str(tmp_path / name) in text
  assert 'checkpoints' not in text  # a rival has none
