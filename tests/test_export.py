"""Exported models do what the model does, without this package."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import (
  backbones,
  bundle,
  command_line,
  export,
  feature_extractor,
  onnx_model,
  rivals,
  scorers,
)
from egan_jax import state as egan_state
from egan_jax.backbones import graph
from egan_jax.backbones.graph import LayerTable
from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.backbones.trunk import Trunk, cast_kernels
from egan_jax.bundle import Bundle
from egan_jax.bundle.references import References
from egan_jax.errors import UserError
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.feature_extractor import FeatureExtractor

DOCS = (Path(__file__).parents[1] / 'docs' / 'export.md').read_text()
SIZE = 16
# Once each kind of scorer: those of logistic regression are that of the class means.
ON_FEATURES = [
  name
  for name in rivals.names()
  if rivals.get(name).reads == 'features' and 'logistic' not in name
]


def _images(number, size=SIZE, seed=5):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (number, size, size, 3), np.uint8)


def _score(model, images):
  return np.asarray(jax.jit(model.score)(to_unit_range(images)))


def _make(front, scorer, size=SIZE, **changes):
  """A bundle whose threshold divides its probe images."""
  values = {
    'method': 'some_method',
    'backbones': ('Tiny',),
    'fine_tune_layers': 3,
    'image_size': size,
    'preprocess': 'scale',
    'front': front,
    'scorer': scorer,
    'threshold': Threshold(0.0, 'zero', ''),
    'calibration': None,
    'prior': 0.5,
    'minority_class': 'crow',
    'majority_class': 'raven',
    'training': {},
  }
  model = Bundle(**{**values, **changes})
  if 'threshold' in changes:
    return model
  scores = np.sort(_score(model, export.make_probe(model)))
  cut = Threshold(float(scores[3] + scores[4]) / 2, 'given', '')
  return Bundle(**{**values, **changes, 'threshold': cut})


def _fit(name, front, size=SIZE):
  """A method that reads features, fitted to those of noise."""
  features = feature_extractor.run(front, _images(30, size))
  return rivals.get(name).fit(features[5:], features[:5])


@pytest.fixture
def front(tiny_backbone, tiny_variables):
  """Two backbones, one of which resizes images."""
  whole, _ = graph.split(tiny_backbone.layers, len(tiny_backbone.layers))
  trunk = Trunk(tiny_variables, whole, preprocessing='torch', image_size=SIZE)
  second = trunk.replace(image_size=24, preprocessing='caffe')
  return FeatureExtractor((trunk, second), ('average', 'average'))


@pytest.fixture
def one_backbone(front):
  return FeatureExtractor(front.trunks[:1], front.poolings[:1])


@pytest.fixture(scope='module')
def thin():
  """One layer, where it is not layers that matter."""
  table = LayerTable()
  table.add('conv', 'convolution', features=12, size=1, strides=4)
  table.add('relu', 'relu')
  layers, _ = graph.split(table.layers, 3)
  kernel = np.random.default_rng(0).normal(size=(1, 1, 3, 12)).astype(np.float32)
  variables = {'params': {'conv': {'kernel': kernel}}}
  trunk = Trunk(variables, layers, preprocessing='torch', image_size=SIZE)
  return FeatureExtractor((trunk,), ('average',))


@pytest.fixture(scope='module')
def model(thin):
  return _make(thin, _fit('class_mean_and_knn', thin))


def _make_of_head(player, kind):
  networks = rivals.HeadTraining(player).create_networks(jax.random.key(1)[None])
  network = jax.tree.map(lambda a: a[0], networks)
  scorer = scorers.from_discriminator(network, player).replace(kind=kind)
  return _make(player.trunk, scorer, player.trunk.image_size)


@pytest.fixture(scope='module')
def dense_player():
  """DenseNet in small: padded stem, pools of both kinds, concatenations."""
  table = LayerTable()
  table.add('pad', 'zero_padding', padding=((3, 3), (3, 3)))
  table.add('stem', 'convolution', features=8, size=7, strides=2, use_bias=True)
  table.add('pad2', 'zero_padding', padding=((1, 1), (1, 1)))
  features = table.add('pool', 'max_pool', size=3, strides=2)
  table.add('bn', 'batch_norm', features, epsilon=1e-3)
  table.add('relu', 'relu')
  table.add('squeeze', 'convolution', features=8, size=1)
  new = table.add('conv', 'convolution', features=4, size=3, padding='SAME')
  table.add('concat', 'concatenate', features, new)
  table.add('average', 'average_pool', size=2)
  table.add('depthwise', 'depthwise_convolution', size=3, strides=2, padding='SAME')
  table.add('swish', 'swish')
  backbone = backbones.Backbone('Dense', table.layers, preprocessing='none')
  return egan_state.make_player(
    backbone,
    weights='none',
    fine_tune_layers=6,
    preprocess='scale',
    image_size=36,
    key=jax.random.key(0),
  )


def _check(model, file_format):
  """Agrees on images of other kinds and numbers than those of the probe."""
  serialize, load = export.FORMATS[file_format]
  function = load(serialize(model))
  probe = export.make_probe(model)
  assert export.compare(function, model, probe).holds
  allowed = export.TOLERANCE * np.ptp(_score(model, probe))
  for number in (1, 7):
    images = _images(number, model.image_size, seed=number)
    scores, decisions = map(np.asarray, function(images))
    assert (scores.dtype, decisions.dtype) == (np.float32, bool)
    expected = _score(model, images)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=allowed)
    np.testing.assert_array_equal(decisions, model.threshold.calls_minority(scores))


def test_several_backbones_and_resizing(front):
  model = _make(front, _fit('nearest_class_mean', front))
  _check(model, 'stablehlo')
  serialize, _ = export.FORMATS['onnx']
  with pytest.raises(UserError, match='another size than 16'):
    serialize(model)


@pytest.mark.filterwarnings('error::UserWarning')  # such as of float64
@pytest.mark.parametrize('file_format', export.FORMATS)
@pytest.mark.parametrize('name', ON_FEATURES)
def test_every_method_on_features(name, file_format, thin):
  scorer = _fit(name, thin)
  threshold = {'threshold': Threshold(0.0, '', '')} if 'always' in name else {}
  _check(_make(thin, scorer, **threshold), file_format)


HEADS = ['head_logit', pytest.param('head_sigmoid', marks=pytest.mark.slow)]


@pytest.mark.parametrize('kind', HEADS)
def test_trained_head_of_a_small_densenet(kind, dense_player):
  _check(_make_of_head(dense_player, kind), 'stablehlo')


@pytest.mark.parametrize('kind', HEADS)
def test_onnx_of_a_small_densenet_has_one_operator_per_layer(kind, dense_player):
  import onnx

  model = _make_of_head(dense_player, kind)
  _check(model, 'onnx')
  data, _ = export.FORMATS['onnx']
  graph_of_model = onnx.load_from_string(data(model)).graph
  operators = [node.op_type for node in graph_of_model.node]
  assert operators.count('Conv') == 4
  assert operators.count('MaxPool') == 1
  assert operators.count('AveragePool') == 1
  assert [i.name for i in graph_of_model.input] == ['images']
  assert [o.name for o in graph_of_model.output] == ['score', 'is_minority']


def test_tracing_for_onnx_leaves_the_layers_as_they_were(model):
  before = dict(export.onnx_model.ops.OPS)
  with pytest.raises(RuntimeError), onnx_model._one_operator_each():
    raise RuntimeError
  assert export.onnx_model.ops.OPS == before


@pytest.mark.slow
@pytest.mark.parametrize('file_format', export.FORMATS)
@pytest.mark.parametrize('name', ['EfficientNetLite0', 'DenseNet121', 'VGG16'])
def test_real_backbones(name, file_format):
  weights = 'imagenet' if 'Lite' in name else 'none'
  front = feature_extractor.make((name,), weights, 32, 'imagenet')
  _check(_make(front, _fit('class_mean_and_knn', front, 32), 32), file_format)


@pytest.mark.parametrize('value', [-np.inf, np.inf, 0.1, -0.1, 1e300, 16777217.0, -5.0])
def test_threshold_decides_as_in_float64(value):
  near = np.float32(min(max(value, -3e38), 3e38))
  around = [np.nextafter(near, np.float32(end)) for end in (-3e38, 3e38)]
  scores = np.array([near, *around])
  exported = scores < export._round_up(value)
  np.testing.assert_array_equal(exported, scores.astype(np.float64) < value)


def test_compare_sees_every_difference(model):
  probe = export.make_probe(model)
  scores = _score(model, probe)
  right = scores < model.threshold.value

  def compare(change, flips=()):
    changed, decisions = scores.copy(), right.copy()
    changed[-1] += change * np.ptp(scores)
    decisions[list(flips)] ^= True
    at = iter([slice(0, 1), slice(1, None)])

    def function(images):
      part = next(at)
      np.testing.assert_array_equal(images, probe[part])
      return changed[part], decisions[part]

    return export.compare(function, model, probe)

  assert compare(0).holds
  assert compare(9e-5).holds
  assert compare(9e-5).difference == pytest.approx(9e-5, rel=0.1)
  for agreement in (compare(1.1e-4), compare(np.nan), compare(0, [0]), compare(0, [5])):
    assert not agreement.holds
  assert compare(0, [0, 5]).num_decisions == 2


def test_probe_has_both_classes_of_the_references(model):
  number = export.make_probe(model).shape[0]
  thumbnails = np.stack([np.full((64, 64, 3), i, np.uint8) for i in range(40)])
  references = References(
    features=np.zeros((40, 12), np.float32),
    is_minority=np.arange(40) < 3,
    names=tuple(map(str, range(40))),
    thumbnails=thumbnails,
  )
  probe = export.make_probe(_make(model.front, model.scorer, references=references))
  assert probe.shape == (number + 3 + 8, SIZE, SIZE, 3)
  shown = probe[number:, 0, 0, 0]
  assert {0, 1, 2, 3, 39} < set(shown.tolist())
  assert len(np.unique(probe.reshape(len(probe), -1), axis=0)) >= len(probe) - 1


@pytest.fixture
def saved(tiny_registered, one_backbone, tmp_path):
  """The folder of a model, and the model."""
  model = _make(one_backbone, _fit('nearest_class_mean', one_backbone))
  bundle.save(model, tmp_path / 'run' / 'model')
  return tmp_path / 'run', model


@pytest.mark.parametrize(
  'snippet', re.findall(r'```python\n(.*?)```', DOCS, re.DOTALL), ids=export.FORMATS
)
def test_documented_snippets_run_where_this_package_is_not(snippet, saved, tmp_path):
  folder, model = saved
  file_format = 'onnx' if 'onnx' in snippet else 'stablehlo'
  export.export(folder, file_format, tmp_path / f'model.{file_format}')
  images = _images(6)
  np.save(tmp_path / 'images.npy', images)
  program = f"""
import sys
sys.modules.update(egan_jax=None, flax=None)
{snippet}
np.savez('out.npz', scores=scores, is_minority=is_minority)
"""
  subprocess.run([sys.executable, '-c', program], cwd=tmp_path, check=True)
  with np.load(tmp_path / 'out.npz') as out:
    expected = _score(model, images)
    np.testing.assert_allclose(out['scores'], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
      out['is_minority'], model.threshold.calls_minority(expected)
    )


def test_stablehlo_is_for_all_platforms(model):
  serialize, _ = export.FORMATS['stablehlo']
  exported = jax.export.deserialize(bytearray(serialize(model)))
  assert exported.platforms == ('cpu', 'cuda', 'tpu')
  # Full float32 is written into the program, whatever a platform's default is.
  assert 'precision = [DEFAULT' not in exported.mlir_module()


@pytest.mark.parametrize('wrong', ['scores', 'decisions'])
def test_nothing_is_left_of_an_export_that_disagrees(
  wrong, saved, tmp_path, monkeypatch
):
  folder, model = saved
  make_function = export.make_function

  def make_wrong(model):
    def classify(images):
      scores, decisions = make_function(model)(images)
      if wrong == 'scores':
        return scores * 1.001 + 0.001, decisions
      return scores, decisions | (jnp.sum(images, axis=(1, 2, 3)) == 0)

    return classify

  monkeypatch.setattr(export, 'make_function', make_wrong)
  black = _score(model, np.zeros((1, SIZE, SIZE, 3), np.uint8))
  if model.threshold.calls_minority(black)[0]:
    object.__setattr__(model.threshold, 'value', float(black[0]) - 1)
    bundle.save(model, folder / 'model')
  output = tmp_path / 'out' / 'model'
  with pytest.raises(UserError, match='nothing was written'):
    export.export(folder, 'stablehlo', output)
  assert not output.parent.exists()


def test_model_that_scores_nan_is_refused(saved, tmp_path):
  folder, model = saved
  arrays = {**model.scorer.arrays, 'offset': jnp.float32(np.nan)}
  broken = _make(
    model.front, model.scorer.replace(arrays=arrays), threshold=model.threshold
  )
  bundle.save(broken, folder / 'model')
  with pytest.raises(UserError, match='not finite'):
    export.export(folder, 'stablehlo', tmp_path / 'model.stablehlo')


def test_onnx_refuses_bfloat16(model):
  trunks = tuple(
    trunk.replace(variables=cast_kernels(trunk.variables, 'bfloat16'))
    for trunk in model.front.trunks
  )
  front = model.front.replace(trunks=trunks)
  serialize, _ = export.FORMATS['onnx']
  with pytest.raises(UserError, match='bfloat16'):
    serialize(_make(front, model.scorer))


def test_missing_extra(model, monkeypatch):
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  serialize, load = export.FORMATS['onnx']
  with pytest.raises(UserError, match=r"jax2onnx: pip install 'egan_jax\[onnx\]'"):
    serialize(model)
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  with pytest.raises(UserError, match=r'onnxruntime: pip install'):
    load(b'')


def test_bad_arguments(saved, tmp_path):
  folder, _ = saved
  with pytest.raises(UserError, match='choose one of stablehlo, onnx'):
    export.export(folder, 'tflite', tmp_path / 'model')
  with pytest.raises(UserError, match='is a folder'):
    export.export(folder, 'stablehlo', tmp_path)
  with pytest.raises(UserError):
    export.export(tmp_path / 'nowhere', 'stablehlo', tmp_path / 'model')
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='cannot write'):
    export.export(folder, 'stablehlo', tmp_path / 'file' / 'model')


def test_command(saved, tmp_path, monkeypatch, capsys):
  folder, _ = saved
  calls = []
  monkeypatch.setattr(command_line, 'run', lambda main, required: calls.append(main))
  from absl import flags

  before = set(flags.FLAGS)
  try:
    export.run_command()
    output = tmp_path / 'model.stablehlo'
    arguments = [f'--model={folder}', '--format=stablehlo', f'--output={output}']
    command_line.parse_flags(['export', *arguments])
    calls[0]()
  finally:
    for name in set(flags.FLAGS) - before:
      delattr(flags.FLAGS, name)
  assert output.exists()
  assert 'all decisions are those of the model' in capsys.readouterr().out


def test_command_says_in_one_line_what_is_missing(run_command):
  result = run_command('egan_jax.export', '--model=x', '--output=y')
  assert result == (1, '', 'error: --format is missing\n')
