"""CIFAR through TFDS: read in its own order, prepared without TensorFlow."""

import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from importlib.machinery import PathFinder

import numpy as np
import pytest

from egan_jax.data import sources
from egan_jax.errors import UserError

SHARED = os.environ.get('EGAN_SHARED')
needs_shared = pytest.mark.skipif(not SHARED, reason='EGAN_SHARED is not set')
PER_BATCH = 20  # images in each file of the archive below
NAMES = 'airplane automobile bird cat deer dog frog horse ship truck'.split()


def _message(*arguments):
  with pytest.raises(UserError) as caught:
    sources.load(*arguments)
  assert '\n' not in str(caught.value)
  return str(caught.value)


@needs_shared
@pytest.mark.parametrize(
  ('dataset', 'train_size', 'test_size'),
  [('cifar10', 5000, 1000), ('cifar100', 500, 100)],
)
def test_real_images_in_the_order_of_tfds(dataset, train_size, test_size):
  import tensorflow_datasets as tfds

  data_dir = f'{SHARED}/data/tfds'
  classes = sources.load(dataset, data_dir, 1, 0)
  assert classes.minority.shape == classes.majority.shape == (train_size, 32, 32, 3)
  assert classes.test.shape == (2 * test_size, 32, 32, 3)
  assert classes.test_is_minority.sum() == test_size
  assert classes.minority.dtype == classes.test.dtype == np.uint8
  train, test = (
    tfds.data_source(dataset, split=split, data_dir=data_dir)
    for split in ('train', 'test')
  )
  for source, images, indices, labels in (
    (train, classes.minority, classes.minority_indices, np.full(train_size, 1)),
    (train, classes.majority, classes.majority_indices, np.full(train_size, 0)),
    (test, classes.test, classes.test_indices, classes.test_is_minority),
  ):
    for position in (0, 1, len(indices) // 2, len(indices) - 1):
      example = source[int(indices[position])]
      assert example['label'] == labels[position]
      np.testing.assert_array_equal(images[position], example['image'])


@needs_shared
def test_class_that_the_data_set_lacks():
  assert 'class 99' in _message('cifar100', f'{SHARED}/data/tfds', 99, 0)


@pytest.fixture(scope='module')
def batches():
  """Label and pixels of every image, by the name of its file in the archive."""
  rng = np.random.default_rng(0)
  names = [f'data_batch_{number}.bin' for number in range(1, 6)] + ['test_batch.bin']
  return {
    name: (
      np.arange(PER_BATCH, dtype=np.uint8) % 10,
      rng.integers(0, 256, (PER_BATCH, 32, 32, 3), np.uint8),
    )
    for name in names
  }


@pytest.fixture(scope='module')
def archive(batches):
  """cifar-10-binary.tar.gz with a few images: a label, then planes of pixels."""
  files = {'batches.meta.txt': '\n'.join([*NAMES, '', '']).encode()}
  for name, (labels, images) in batches.items():
    planes = images.transpose(0, 3, 1, 2).reshape(PER_BATCH, -1)
    files[name] = np.hstack([labels[:, None], planes]).tobytes()
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
    for name, data in files.items():
      member = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
  return buffer.getvalue()


class _Handler(http.server.BaseHTTPRequestHandler):
  def do_HEAD(self):
    self.send_response(200 if self.server.body else 404)
    self.send_header('Content-Length', str(len(self.server.body)))
    self.end_headers()

  def do_GET(self):
    self.do_HEAD()
    self.wfile.write(self.server.body)

  def log_message(self, *_):
    pass


@pytest.fixture
def without_tensorflow(monkeypatch):
  """As if it were not installed: TFDS would use it."""
  find_spec = PathFinder.find_spec

  def find(name, *rest):
    return None if name == 'tensorflow' else find_spec(name, *rest)

  monkeypatch.setattr(PathFinder, 'find_spec', find)
  yield
  assert 'tensorflow' not in sys.modules


@pytest.fixture
def publish(monkeypatch, without_tensorflow):
  """Lets TFDS take CIFAR-10's archive from the loopback: `publish(body)`."""
  from tensorflow_datasets.image_classification import cifar

  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f'http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz'
    info = cifar.Cifar10._cifar_info.fget
    monkeypatch.setattr(
      cifar.Cifar10, '_cifar_info', property(lambda self: info(self)._replace(url=url))
    )

    def put(body, checksum=None):
      server.body = body
      monkeypatch.setattr(cifar.Cifar10, 'url_infos', {url: checksum})

    yield put
    server.shutdown()
    thread.join()


def test_prepared_from_the_archive_and_read_back(publish, archive, batches, tmp_path):
  publish(archive)
  classes = sources.load('cifar10', str(tmp_path), 3, 5)
  train = [batch for name, batch in batches.items() if name.startswith('data')]
  labels, images = (np.concatenate(parts) for parts in zip(*train, strict=True))
  test_labels, test_images = batches['test_batch.bin']
  for ours, expected in (
    (classes.minority, images[labels == 3]),
    (classes.majority, images[labels == 5]),
    (classes.test[classes.test_is_minority], test_images[test_labels == 3]),
    (classes.test[~classes.test_is_minority], test_images[test_labels == 5]),
  ):
    # TFDS shuffles as it writes.
    assert sorted(i.tobytes() for i in ours) == sorted(i.tobytes() for i in expected)

  import tensorflow_datasets as tfds

  source = tfds.data_source('cifar10', split='train', data_dir=tmp_path)
  for image, index in zip(classes.minority, classes.minority_indices, strict=True):
    np.testing.assert_array_equal(source[int(index)]['image'], image)

  publish(b'')  # it is not asked for twice
  again = sources.load('cifar10', str(tmp_path), 3, 5)
  np.testing.assert_array_equal(again.minority, classes.minority)


def test_preparation_that_fails(publish, archive, tmp_path):
  from tensorflow_datasets.core.download.checksums import UrlInfo

  checksum = UrlInfo(
    checksum=hashlib.sha256(archive).hexdigest(),
    size=len(archive),
    filename='cifar-10-binary.tar.gz',
  )
  for number, (body, known, part) in enumerate(
    [
      (b'', None, '404'),
      (archive[:999], None, 'ended'),
      (archive[:999], checksum, 'sum'),
    ]
  ):
    publish(body, known)
    data_dir = tmp_path / str(number)
    message = _message('cifar10', str(data_dir), 0, 1)
    assert f'cifar10 is not prepared in {data_dir}' in message
    assert part in message
  # A damaged archive is not kept.
  publish(archive, checksum)
  assert len(sources.load('cifar10', str(data_dir), 0, 1).minority) == 10


def test_folder_that_cannot_be_written_to(publish, archive, tmp_path):
  publish(archive)
  (tmp_path / 'file').write_text('in the way')
  for data_dir in (tmp_path / 'file', tmp_path / 'file' / 'below'):
    assert str(data_dir) in _message('cifar10', str(data_dir), 0, 1)


@pytest.mark.parametrize('dataset', ['cifar10', 'cifar100'])
def test_neither_prepared_nor_reachable(dataset, monkeypatch, tmp_path, caplog):
  def refuse(request, timeout):
    raise urllib.error.URLError('no network')

  monkeypatch.setattr(urllib.request, 'urlopen', refuse)
  data_dir = tmp_path / 'none'
  start = time.monotonic()
  message = _message(dataset, str(data_dir), 0, 1)
  assert time.monotonic() - start < 10
  for part in (str(data_dir), 'cs.toronto.edu', 'network', 'config.data_dir'):
    assert part in message
  assert not data_dir.exists()
  assert caplog.text == ''


def test_prepared_in_another_format(publish, archive, tmp_path):
  publish(archive)
  sources.load('cifar10', str(tmp_path), 0, 1)
  (info,) = tmp_path.glob('cifar10/*/dataset_info.json')
  whole = info.read_text()
  for text in (whole.replace('array_record', 'tfrecord'), whole[:100]):
    info.write_text(text)
    message = _message('cifar10', str(tmp_path), 0, 1)
    assert f'cifar10 in {tmp_path}' in message
    assert 'ArrayRecord' in message


def test_damaged_records(publish, archive, tmp_path):
  publish(archive)
  sources.load('cifar10', str(tmp_path), 0, 1)
  (records,) = tmp_path.glob('cifar10/*/cifar10-train.array_record*')
  records.write_bytes(records.read_bytes()[:5000])
  message = _message('cifar10', str(tmp_path), 0, 1)
  assert 'damaged' in message
  assert str(records.parent) in message
  records.unlink()
  assert 'damaged' in _message('cifar10', str(tmp_path), 0, 1)
