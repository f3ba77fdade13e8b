"""Weights files made by hand, and a server on the loopback to fetch them from."""

import http.server
import os
import pickle
import threading

os.environ.setdefault('KERAS_BACKEND', 'jax')

import numpy as np
import pytest

from egan_jax import backbones
from egan_jax.backbones.graph import LayerTable
from egan_jax.pretrained import torch_pickle


def random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _tiny_layers():
  table = LayerTable()
  table.add('block1_conv1', 'convolution', features=4, size=3, use_bias=True)
  table.add('block1_bn', 'batch_norm', epsilon=1e-3)
  table.add('block1_relu', 'relu')
  table.add('block1_conv2', 'convolution', features=4, size=3, use_bias=True)
  return table.layers


@pytest.fixture
def tiny(monkeypatch):
  """A backbone called Tiny; returns its layers."""
  layers = _tiny_layers()
  backbone = backbones.Backbone('Tiny', layers, preprocessing='none')
  monkeypatch.setattr(backbones, 'get', lambda name: {'Tiny': backbone}[name])
  return layers


@pytest.fixture
def tiny_weights():
  """Tiny's weights as `[(layer, [(weight, array)])]`, in Keras 2's names."""
  names = ('gamma', 'beta', 'moving_mean', 'moving_variance')
  return [
    ('input_1', []),
    ('block1_conv1', [('kernel:0', random(3, 3, 3, 4)), ('bias:0', random(4))]),
    ('block1_bn', [(f'{n}:0', random(4, seed=i)) for i, n in enumerate(names)]),
    ('block1_relu', []),
    ('block1_conv2', [('kernel:0', random(3, 3, 4, 4)), ('bias:0', random(4))]),
  ]


def _text(value):
  """A str, int or tuple of ints as pickle opcodes."""
  if isinstance(value, tuple):
    return b'(' + b''.join(map(_text, value)) + b't'
  return b'V%s\n' % value.encode() if isinstance(value, str) else b'I%d\n' % value


_EMPTY_DICT = b'ccollections\nOrderedDict\n)R'


def _tensor(key, array):
  """A contiguous tensor in a storage called `key`, as pickle opcodes."""
  kind = {'f': 'FloatStorage', 'i': 'LongStorage'}[array.dtype.kind]
  storage = (b'(' + _text('storage') + b'ctorch\n%s\n' % kind.encode() + _text(key)) + (
    _text('cpu') + _text(array.size) + b'NtQ'
  )
  strides = tuple(s // array.itemsize for s in array.strides)
  return (
    b'ctorch._utils\n_rebuild_tensor_v2\n('
    + (storage + _text(0) + _text(array.shape) + _text(strides))
    + (b'\x89' + _EMPTY_DICT + b'tR')
  )


@pytest.fixture(scope='session')
def torch_file():
  """Bytes of a state dict as torch wrote it before 1.6.

  `extra` is put into the state dict's pickle as it is: opcodes that leave one
  object on the stack.
  """

  def make(state, extra=b''):
    items = b''.join(_text(k) + _tensor(f'1{k}', v) for k, v in state.items())
    if extra:
      items += _text('extra') + extra
    return (
      torch_pickle.MAGIC
      + pickle.dumps(1001, 2)
      + pickle.dumps({'protocol_version': 1001, 'little_endian': True}, 2)
      + (b'\x80\x02' + _EMPTY_DICT + b'(' + items + b'u.')
      + pickle.dumps([f'1{key}' for key in state], 2)
      + b''.join(
        v.size.to_bytes(8, 'little') + v.tobytes(order='A') for v in state.values()
      )
    )

  return make


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True

  def __init__(self):
    super().__init__(('127.0.0.1', 0), _Handler)
    self.files = {}
    self.requests = []
    self.meeting = None

  def url(self, name):
    return f'http://127.0.0.1:{self.server_port}/{name}'


class _Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.server.requests.append(self.path)
    if self.path[1:] not in self.server.files:
      self.send_error(404)
      return
    body, length = self.server.files[self.path[1:]]
    self.send_response(200)
    self.send_header('Content-Length', str(length))
    self.end_headers()
    self.wfile.write(body[: len(body) // 2])
    if self.server.meeting:
      self.server.meeting.wait(60)
    self.wfile.write(body[len(body) // 2 :])

  def log_message(self, *_):
    pass


@pytest.fixture
def server(monkeypatch):
  """Serves `server.files[name] = (body, announced length)`.

  With `server.meeting`, a barrier, answers stop half-way until all are there.
  """
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  with _Server() as running:
    thread = threading.Thread(target=running.serve_forever, args=(0.05,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
