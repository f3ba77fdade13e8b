"""The torch reader: right numbers, and nothing but numbers."""

import importlib.util
import io
import pickle
from pathlib import Path

import jax
import numpy as np
import pytest

from egan_jax import pretrained
from egan_jax.errors import UserError
from egan_jax.pretrained import lite_names, published, torch_pickle


@pytest.fixture
def state():
  rng = np.random.default_rng(0)
  return {
    '_conv_stem.weight': rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
    '_bn0.weight': rng.normal(size=4).astype(np.float32),
    '_bn0.num_batches_tracked': np.array(7),
  }


def test_reads_what_was_written(state, torch_file, tmp_path):
  state['turned'] = np.arange(6, dtype=np.float32).reshape(2, 3).T
  path = tmp_path / 'x.pth'
  path.write_bytes(torch_file(state))
  read = torch_pickle.read(path)
  assert list(read) == list(state)
  for key, value in state.items():
    assert read[key].dtype == value.dtype
    np.testing.assert_array_equal(read[key], value)


def test_every_truncation_is_an_error(state, torch_file, tmp_path):
  whole = torch_file(state)
  path = tmp_path / 'x.pth'
  for size in range(len(torch_pickle.MAGIC), len(whole)):
    path.write_bytes(whole[:size])
    with pytest.raises(UserError, match='damaged') as caught:
      torch_pickle.read(path)
    assert '\n' not in str(caught.value)


def test_damage_is_an_error_or_harmless(state, torch_file, tmp_path):
  whole = torch_file(state)
  path = tmp_path / 'x.pth'
  rng = np.random.default_rng(0)
  for position in range(len(torch_pickle.MAGIC), whole.index(b'u.') + 40):
    damaged = bytearray(whole)
    damaged[position] = rng.integers(256)
    path.write_bytes(damaged)
    try:
      torch_pickle.read(path)
    except UserError as error:
      assert '\n' not in str(error)


@pytest.mark.parametrize(
  'stolen',
  [
    b'cbuiltins\nexec\n(Vopen("MARK", "w")\ntR',
    b'(Vopen("MARK", "w")\nibuiltins\nexec\n',
    b'cos\nsystem\n(Vtouch MARK\ntR',
    b'cposix\nsystem\n(Vtouch MARK\ntR',
    b'ctorch.serialization\nload\n',
    b'ctorch\nload\n',
    b'ccollections\nnamedtuple\n',
    b'ccollections\nOrderedDict.fromkeys\n',
    b'cnumpy\nload\n',
  ],
)
def test_code_is_refused_and_not_run(stolen, state, torch_file, tmp_path):
  mark = tmp_path / 'mark'
  stolen = stolen.replace(b'MARK', str(mark).encode())
  path = tmp_path / 'x.pth'
  path.write_bytes(torch_file(state, stolen))
  with pytest.raises(UserError, match='which is no tensor'):
    torch_pickle.read(path)
  assert not mark.exists()

  if b'MARK' in stolen:  # the attack is a real one
    pickle.load(io.BytesIO(b'\x80\x02' + stolen + b'.'))
    assert mark.exists()


def test_a_pickle_leaves_no_trace_in_the_reader(state, torch_file, tmp_path):
  path = tmp_path / 'x.pth'
  for victim in (
    b'ccollections\nOrderedDict\n',
    b'ctorch\nFloatStorage\n',
    b'ctorch._utils\n_rebuild_tensor_v2\n',
  ):
    path.write_bytes(torch_file(state, victim + b'(N}Vtrace\nI1\nstb'))
    with pytest.raises(UserError):
      torch_pickle.read(path)
  path.write_bytes(torch_file(state))
  assert list(torch_pickle.read(path)) == list(state)


@pytest.mark.parametrize(
  ('old', 'new'),
  [
    (b'I0\n(I4\nI3\nI3\nI3\nt', b'I0\n(I5\nI3\nI3\nI3\nt'),  # larger than its storage
    (b'I0\n(I4\nI3\nI3\nI3\nt', b'I1\n(I4\nI3\nI3\nI3\nt'),  # offset
    (b'(I27\nI9\nI3\nI1\nt', b'(I27\nI9\nI3\nI2\nt'),  # stride
    (b'(I27\nI9\nI3\nI1\nt', b'(I27\nI9\nI3\nI-1\nt'),
    (b'(I4\nI3\nI3\nI3\nt', b'(I4\nI0\nI3\nI3\nt'),
    (b'I108\nNt', b'I109\nNt'),  # not the storage's length
    (b'I108\nNt', b'I-1\nNt'),
    (b'I108\nNt', b'I108\nI0\nt'),  # a view
  ],
)
def test_tensors_stay_inside_their_storage(old, new, state, torch_file, tmp_path):
  whole = torch_file(state)
  assert whole.count(old) == 1
  path = tmp_path / 'x.pth'
  path.write_bytes(whole.replace(old, new))
  with pytest.raises(UserError):
    torch_pickle.read(path)


def test_another_object_or_version(torch_file, tmp_path):
  path = tmp_path / 'x.pth'
  start = torch_pickle.MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
  path.write_bytes(start)
  with pytest.raises(UserError, match='little_endian'):
    torch_pickle.read(path)
  path.write_bytes(torch_file({}).replace(b'M\xe9\x03', b'M\xea\x03'))
  with pytest.raises(UserError, match='version'):
    torch_pickle.read(path)


def _lite0():
  """The published state dict."""
  file = published.FILES['EfficientNetLite0']
  spec = importlib.util.find_spec(file.package.replace('-', '_'))
  path = Path(spec.submodule_search_locations[0], 'models', file.filename)
  return torch_pickle.read(path)


def test_efficientnet_lite0(monkeypatch, tmp_path):
  monkeypatch.setenv('EGAN_WEIGHTS_DIR', str(tmp_path))
  variables = pretrained.load('EfficientNetLite0')
  sizes = [np.size(leaf) for leaf in jax.tree.leaves(variables)]
  assert sum(sizes) == 3_413_024
  state = _lite0()
  params, stats = variables['params'], variables['batch_stats']
  np.testing.assert_array_equal(
    params['stem_conv']['kernel'][1, 2, 0, 5], state['_conv_stem.weight'][5, 0, 1, 2]
  )
  np.testing.assert_array_equal(  # block 5 is the third stage's first of 5x5 twins
    params['block4a_dwconv']['kernel'][2, 0, 7, 0],
    state['_blocks.5._depthwise_conv.weight'][7, 0, 2, 0],
  )
  np.testing.assert_array_equal(
    params['block7a_project_conv']['kernel'][0, 0],
    state['_blocks.15._project_conv.weight'][:, :, 0, 0].T,
  )
  for part, leaf in (('weight', 'scale'), ('bias', 'bias')):
    np.testing.assert_array_equal(
      params['block1a_project_bn'][leaf], state[f'_blocks.0._bn2.{part}']
    )
  np.testing.assert_array_equal(
    stats['block2a_expand_bn']['mean'], state['_blocks.1._bn0.running_mean']
  )
  np.testing.assert_array_equal(stats['top_bn']['var'], state['_bn1.running_var'])


def test_unexpected_modules_keep_their_names():
  state = {
    '_fc.weight': np.zeros((2, 4)),
    '_fc.bias': np.zeros(2),
    '_bn0.num_batches_tracked': np.array(1),
    '_blocks.0._se_reduce.weight': np.zeros((4, 1, 1, 1)),
    '_blocks.9._bn1.weight': np.zeros(4),
    'head.weight': np.zeros(4),
  }
  layers = lite_names.keras_layers(state, ['stem_conv', 'block1a_dwconv', 'block1a_bn'])
  assert [layer.name for layer in layers] == [
    '_blocks.0._se_reduce',
    '_blocks.9._bn1',
    'head',
  ]


def test_lite0_with_something_more_or_less(torch_file, tmp_path):
  state = _lite0()
  del state['_blocks.3._bn1.running_var']
  state['_blocks.3._se_reduce.weight'] = np.zeros((4, 1, 1, 1), np.float32)
  path = tmp_path / 'x.pth'
  path.write_bytes(torch_file(state))
  with pytest.raises(UserError) as caught:
    pretrained.load('EfficientNetLite0', path)
  assert str(caught.value) == (
    f'{path} does not fit EfficientNetLite0: only in the backbone: 1 layer '
    '(block3a_bn [144, 144, 144, 144]); only in the file: 2 layers '
    '(block3a_bn [144, 144, 144], _blocks.3._se_reduce [1x1x1x4])'
  )
