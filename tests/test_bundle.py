import dataclasses
import hashlib
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from egan_jax import backbones, bundle, scorers, steps
from egan_jax import state as egan_state
from egan_jax.backbones import graph
from egan_jax.backbones.graph import LayerGraph
from egan_jax.backbones.trunk import Trunk, cast_kernels
from egan_jax.bundle import Bundle, files, references
from egan_jax.bundle.references import References
from egan_jax.errors import UserError
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.models.discriminator import Discriminator
from egan_jax.models.pooled_head import PooledHead
from egan_jax.scorers import Scorer

SIZE = 16
WEIGHTS = 'weights.safetensors'
REFERENCES = 'references.safetensors'


def _images(number=3):
  return np.random.default_rng(1).uniform(size=(number, SIZE, SIZE, 3)).astype('f')


def _make_references(num_features, number=4):
  rng = np.random.default_rng(2)
  return References(
    features=rng.normal(size=(number, num_features)).astype(np.float32),
    is_minority=np.arange(number) < 2,
    names=tuple(f'train/ä {i}.png' for i in range(number)),
    thumbnails=rng.integers(0, 256, (number, 64, 64, 3), np.uint8),
  )


def _make(front, scorer, **changes):
  values = {
    'method': 'some_method',
    'backbones': ('Tiny',),
    'fine_tune_layers': 3,
    'image_size': SIZE,
    'preprocess': 'scale',
    'front': front,
    'scorer': scorer,
    'threshold': Threshold(-0.1, 'target_specificity', 'a promise'),
    'calibration': Calibration(-1.5, -0.25, 3, 40, 'a rough guide'),
    'prior': 0.125,
    'minority_class': 'crow',
    'majority_class': 'rāven',
    'training': {'seed': 3, 'f1': [0.1, float('nan')], 'counts': np.arange(3)},
    'held_out_scores': np.array([0.5, -1.25, 3], np.float32),
  }
  return Bundle(**{**values, **changes})


def _randomise(shapes):
  rng = np.random.default_rng(5)
  return jax.tree.map(
    lambda leaf: rng.uniform(0.1, 0.5, leaf.shape).astype(leaf.dtype), shapes
  )


def _make_of_head(name='Tiny', fine_tune_layers=3, kind='head_logit', dtype='float32'):
  """A model of a cut backbone with random numbers for weights."""
  backbone = backbones.get(name)
  cut = len(backbone.layers) - fine_tune_layers
  layers, head = graph.split(backbone.layers, cut)
  images, key = jnp.zeros((1, SIZE, SIZE, 3)), jax.random.key(0)
  variables = _randomise(jax.eval_shape(layers.init, key, images))
  trunk = Trunk(cast_kernels(variables, dtype), layers, 'none', SIZE)
  arrays = _randomise(
    jax.eval_shape(
      lambda: Discriminator(head, backbone.pooling).init(key, trunk(images))
    )
  )
  arrays = {'params': arrays['params'], 'batch_stats': arrays.get('batch_stats', {})}
  if kind == 'head_distance':
    size = len(arrays['params']['score']['kernel'])
    arrays |= {'centre': np.linspace(0, 1, size, dtype='f'), 'unit': np.float32(2)}
  scorer = Scorer(arrays, kind, PooledHead(head, backbone.pooling))
  return _make(trunk, scorer, backbones=(name,), fine_tune_layers=fine_tune_layers)


def _make_extractor(tiny_backbone, variables, outputs=('relu3',)):
  trunk = Trunk(
    variables=variables,
    graph=LayerGraph(tiny_backbone.layers, outputs),
    preprocessing='torch',
    image_size=SIZE,
  )
  second = trunk.replace(image_size=8, preprocessing='none')
  return FeatureExtractor((trunk, second), ('average', 'flatten'))


# The arrays of each kind of scorer of C features.
SCORERS = {
  'constant': lambda c: {'value': ()},
  'linear': lambda c: {'centre': (c,), 'weights': (c,), 'offset': ()},
  'knn': lambda c: {'index': (5, c), 'centre': (c,)},
  'class_mean_and_knn': lambda c: {
    'knn': SCORERS['knn'](c),
    'class_mean': SCORERS['linear'](c),
    'mean': (),
    'deviation': (),
  },
  'mahalanobis': lambda c: {'centre': (c,), 'whitening': (c, 4)},
}


def _make_scorer(kind, size):
  rng = np.random.default_rng(3)
  return scorers.make(
    jax.tree.map(
      lambda shape: rng.normal(size=shape),
      SCORERS[kind](size),
      is_leaf=lambda node: isinstance(node, tuple),
    ),
    kind,
    note='a note',
  )


@pytest.fixture(scope='module')
def of_features(tiny_registered, tiny_backbone, tiny_variables):
  """A model of the kind that has every field."""
  front = _make_extractor(tiny_backbone, tiny_variables)
  size = sum(front.sizes)
  return _make(
    front,
    _make_scorer('class_mean_and_knn', size),
    backbones=('Tiny', 'Tiny'),
    references=_make_references(size),
  )


@pytest.fixture(scope='module')
def saved(of_features, tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved') / 'model'
  bundle.save(of_features, folder)
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  """A saved model that a test may change."""
  return shutil.copytree(saved, tmp_path / 'model')


def _compute(bundle):
  return _jitted(bundle.front, bundle.scorer, _images())


@jax.jit  # once for what was saved and what was loaded
def _jitted(front, scorer, images):
  bundle = _make(front, scorer)
  return bundle.score(images), bundle.features(images)


def _check_same(loaded, saved):
  for kept, given in zip(_compute(loaded), _compute(saved), strict=True):
    np.testing.assert_array_equal(kept, given)
    assert kept.dtype == given.dtype == np.float32
  assert jax.tree.structure((loaded.front, loaded.scorer)) == jax.tree.structure(
    (saved.front, saved.scorer)
  )
  for name in (
    'method',
    'backbones',
    'fine_tune_layers',
    'image_size',
    'preprocess',
    'threshold',
    'calibration',
    'prior',
    'minority_class',
    'majority_class',
  ):
    assert getattr(loaded, name) == getattr(saved, name), name
  assert loaded.training == {'seed': 3, 'f1': [0.1, None], 'counts': [0, 1, 2]}
  np.testing.assert_array_equal(loaded.held_out_scores, saved.held_out_scores)


@pytest.mark.parametrize('kind', SCORERS)
def test_a_scorer_of_features_survives_to_the_bit(
  kind, tiny_registered, tiny_backbone, tiny_variables, tmp_path
):
  front = _make_extractor(tiny_backbone, tiny_variables, ('relu1', 'relu3'))
  scorer = _make_scorer(kind, sum(front.sizes))
  saved = _make(front, scorer, backbones=('Tiny', 'Tiny'))
  bundle.save(saved, tmp_path / 'model')
  _check_same(bundle.load(tmp_path / 'model'), saved)


def test_mirrored_features_survive_to_the_bit(of_features, tmp_path):
  front = of_features.front.replace(mirrored=True)
  saved = dataclasses.replace(of_features, front=front)
  bundle.save(saved, tmp_path / 'model')
  loaded = bundle.load(tmp_path / 'model')
  _check_same(loaded, saved)
  assert abs(_compute(loaded)[0] - _compute(of_features)[0]).max() > 1e-4


@pytest.mark.parametrize(
  'options',
  [
    {},
    {'kind': 'head_distance'},
    {'fine_tune_layers': 0},  # no layers after the cut
    {'fine_tune_layers': 13},  # none before
    {'dtype': 'bfloat16'},
    {'name': 'SmallConvDiscriminator', 'fine_tune_layers': 7, 'kind': 'head_sigmoid'},
  ],
)
def test_a_scorer_with_a_head_survives_to_the_bit(options, tiny_registered, tmp_path):
  saved = _make_of_head(**options)
  bundle.save(saved, tmp_path / 'model')
  _check_same(bundle.load(tmp_path / 'model'), saved)


def test_the_discriminator_of_a_run_survives_to_the_bit(tiny_registered, tmp_path):
  player = egan_state.make_player(
    backbones.get('Tiny'), 'none', 3, 'scale', SIZE, jax.random.key(0)
  )
  network = jax.jit(
    lambda key: egan_state.create_game_state(key, player, player, 1e-4).discriminator
  )(jax.random.key(1))
  saved = _make(player.trunk, scorers.from_discriminator(network, player))
  bundle.save(saved, tmp_path / 'model')
  loaded = bundle.load(tmp_path / 'model')
  _check_same(loaded, saved)
  expected = steps.score(
    network, jax.jit(lambda trunk, x: trunk(x))(player.trunk, _images()), batch_size=3
  )
  np.testing.assert_allclose(_compute(loaded)[0], expected, atol=1e-6)


def test_references_and_their_absence_survive(of_features, folder, tmp_path):
  loaded = bundle.load(folder).references
  assert loaded.names == of_features.references.names
  for name in ('features', 'is_minority', 'thumbnails'):
    kept, saved = getattr(loaded, name), getattr(of_features.references, name)
    np.testing.assert_array_equal(kept, saved)
    assert kept.dtype == saved.dtype
  without = dataclasses.replace(
    of_features, references=None, calibration=None, held_out_scores=None
  )
  bundle.save(without, folder)  # replaces it
  loaded = bundle.load(folder)
  assert loaded.references is loaded.calibration is loaded.held_out_scores is None
  assert not (folder / REFERENCES).exists()


@pytest.mark.parametrize('value', [np.inf, -np.inf, 0.0, -1e-300, 0.1])
def test_any_threshold_survives(value, of_features, tmp_path):
  threshold = Threshold(value, 'minimum_cost', 'none')
  bundle.save(dataclasses.replace(of_features, threshold=threshold), tmp_path / 'model')
  assert bundle.load(tmp_path / 'model').threshold == threshold


def test_a_score_is_traceable(of_features):
  images = jnp.asarray(_images())
  gradient = jax.jit(jax.grad(lambda images: of_features.score(images).sum()))(images)
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_a_run_stands_for_its_model(of_features, tmp_path):
  bundle.save(of_features, tmp_path / 'model')
  _check_same(bundle.load(tmp_path), of_features)


def test_a_failed_save_leaves_the_old_model(of_features, folder, monkeypatch):
  before = {path.name: path.read_bytes() for path in folder.iterdir()}

  def fill_disk(*arguments):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(files.run_files, 'write_json', fill_disk)
  with pytest.raises(UserError, match='No space left'):
    bundle.save(of_features, folder)
  assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
  assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failed_move_puts_the_old_model_back(of_features, folder, monkeypatch):
  rename = os.rename

  def refuse_new(source, target):
    if str(source).endswith('.tmp'):
      raise OSError(5, 'Input/output error')
    rename(source, target)

  monkeypatch.setattr(os, 'rename', refuse_new)
  with pytest.raises(UserError, match='Input/output'):
    bundle.save(of_features, folder)
  assert [path.name for path in folder.parent.iterdir()] == [folder.name]
  _check_same(bundle.load(folder), of_features)


def test_what_is_no_model_is_not_overwritten(of_features, tmp_path):
  (tmp_path / 'photo.png').write_bytes(b'x')
  with pytest.raises(UserError, match='holds other files'):
    bundle.save(of_features, tmp_path)
  with pytest.raises(UserError, match='is a file'):
    bundle.save(of_features, tmp_path / 'photo.png')
  assert [path.name for path in tmp_path.iterdir()] == ['photo.png']


@pytest.mark.parametrize(
  'change',
  [
    {'threshold': Threshold(float('nan'), 'zero', '')},
    {'prior': 1.0},
    {'backbones': ('VGG16', 'VGG16')},
    {'majority_class': 'unreadable'},
  ],
)
def test_what_could_not_be_used_is_not_saved(change, of_features, tmp_path):
  with pytest.raises((ValueError, UserError)):
    bundle.save(dataclasses.replace(of_features, **change), tmp_path / 'model')
  assert not any(tmp_path.iterdir())


def test_a_head_must_follow_its_trunk(tiny_registered, tmp_path):
  saved = _make_of_head()
  trunk = _make_of_head(fine_tune_layers=0).front
  with pytest.raises(ValueError, match='head'):
    bundle.save(dataclasses.replace(saved, front=trunk), tmp_path / 'model')


# What a user can do to the files.


def _refuse(folder, match='.'):
  with pytest.raises(UserError, match=match) as error:
    bundle.load(folder)
  assert '\n' not in str(error.value)


def test_any_damage_is_refused(folder, tmp_path):
  """A changed byte, a lost end, a file too many bytes long or gone: wherever."""
  rng = np.random.default_rng(0)
  whole = {path.name: path.read_bytes() for path in folder.iterdir()}
  assert {*whole} == {'model.json', WEIGHTS, REFERENCES}
  for name, data in whole.items():
    path = folder / name
    # Headers are where a parser could be led astray: half of the changes go there.
    ends = [min(400, len(data)), len(data)] * 20
    for position in [0, *rng.integers(ends)]:
      changed = bytearray(data)
      changed[position] ^= rng.integers(1, 256)
      path.write_bytes(changed)
      _refuse(folder)
    for length in [0, 1, 7, 8, len(data) - 1, *rng.integers(len(data), size=5)]:
      path.write_bytes(data[:length])
      _refuse(folder)
    path.write_bytes(data + b'\n')
    _refuse(folder)
    path.write_bytes(rng.bytes(len(data)))
    _refuse(folder)
    path.unlink()
    _refuse(folder)
    path.mkdir()
    _refuse(folder)
    path.rmdir()
    path.write_bytes(data)
  bundle.load(folder)  # whole again


def test_tensors_of_another_model_are_refused(of_features, folder, tmp_path):
  other = dataclasses.replace(of_features, held_out_scores=np.ones(3, np.float32))
  bundle.save(other, tmp_path / 'other')
  shutil.copy(tmp_path / 'other' / WEIGHTS, folder / WEIGHTS)
  _refuse(folder, 'of another model')


def test_what_is_not_there_is_named(tmp_path):
  _refuse(tmp_path / 'nowhere', 'there is no folder')
  _refuse(tmp_path, 'holds no model.json')
  (tmp_path / 'file').write_text('')
  _refuse(tmp_path / 'file', 'there is no folder')


# What someone else could write, with hashes that are right.


def _write(folder, content):
  """Signs a model.json as `bundle.files` does."""
  for path in folder.glob('*.safetensors'):
    if path.name in content['files']:
      content['files'][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
  content.pop('sha256', None)
  path = folder / 'model.json'
  for _ in range(2):
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n')
    content['sha256'] = hashlib.sha256(path.read_bytes()).hexdigest()


def _read(folder):
  return json.loads((folder / 'model.json').read_text())


def test_a_signed_copy_is_accepted(of_features, folder):
  content = _read(folder)
  _write(folder, content)
  _check_same(bundle.load(folder), of_features)


@pytest.mark.parametrize(
  ('path', 'value', 'match'),
  [
    ('format', 'something', 'something else'),
    ('format_version', 2, 'install a newer one'),
    ('format_version', True, 'damaged or was edited'),
    ('format_version', -1, 'damaged or was edited'),
    ('files', {}, 'other tensor files'),
    ('files/..', 'x', 'other tensor files'),
    ('threshold/value', 'nan', 'threshold'),
    ('threshold/value', 'low', 'threshold'),
    ('threshold/value', 0.5, 'value'),
    ('threshold', None, 'threshold'),
    ('prior', 0.0, 'prior'),
    ('prior', float('nan'), 'prior'),
    ('prior', 10**400, 'prior'),
    ('calibration', [], 'intercept'),
    ('calibration/slope', 0.5, 'slope'),
    ('calibration/slope', float('inf'), 'slope'),
    ('minority_class', 3, 'minority_class'),
    ('minority_class', 'rāven', 'both classes'),
    ('image_size', 0, 'image_size'),
    ('image_size', 8.0, 'image_size'),
    ('training', [], 'training'),
    ('reference_names', None, 'reference_names'),
    ('reference_names', ['a'], 'features'),
    ('reference_names', [1, 2, 3, 4], 'references'),
    ('scorer/kind', '__class__', 'no kind of scorer'),
    ('scorer/kind', 'linear', 'centre'),
    ('scorer/kind', 'head_logit', 'no front'),
    ('front', [], 'no front'),
    ('front', [1, 2], 'backbone'),
    ('front/0/backbone', 'os.system', 'unknown backbone'),
    ('front/0/backbone', 'SmallConvEncoder', 'layers'),
    ('front/0/num_layers', 0, 'layers'),
    ('front/0/num_layers', 99, 'layers'),
    ('front/0/outputs', [], 'no layers'),
    ('front/0/outputs', ['conv9'], 'no layers'),
    ('front/0/outputs', [['relu3']], 'no layers'),
    ('front/0/outputs', ['relu1'], 'features|centre|shape'),
    ('front/0/pooling', 'max', 'pooling'),
    ('front/0/preprocessing', 'eval', 'preprocessing'),
    ('front/0/kernel_dtype', 'bfloat16', 'not bfloat16'),
    ('front/0/kernel_dtype', 'int8', 'kernel_dtype'),
    ('front/0/image_size', -1, 'image_size'),
    ('front/1/image_size', 4, '.'),
  ],
)
def test_what_does_not_fit_is_refused(path, value, match, folder):
  content = _read(folder)
  *parents, last = path.split('/')
  node = content
  for parent in parents:
    node = node[int(parent) if isinstance(node, list) else parent]
  node[last] = value
  _write(folder, content)
  _refuse(folder, match)


def _lose(tensors, name):
  del tensors[name]


def _set(tensors, name, change):
  tensors[name] = np.asarray(change(tensors[name]))


@pytest.mark.parametrize(
  ('change', 'match'),
  [
    (lambda t: _lose(t, 'front/0/params/conv1/kernel'), 'lacks front/0/params/conv1'),
    (lambda t: _lose(t, 'front/1/batch_stats/bn1/mean'), 'lacks front/1'),
    (lambda t: _lose(t, 'scorer/mean'), 'mean'),
    (lambda t: t.update(extra=np.zeros(1, 'f')), 'unknown extra'),
    (lambda t: t.update({'front/2/params/x': np.zeros(1, 'f')}), 'unknown front/2'),
    (lambda t: t.update({'scorer/mean/x': np.zeros(1, 'f')}), '.'),
    (
      lambda t: _set(t, 'front/0/params/conv1/kernel', lambda a: a[..., :4]),
      'front/0/params/conv1/kernel is float32',
    ),
    (
      lambda t: _set(t, 'front/0/batch_stats/bn1/var', lambda a: a.astype(np.uint8)),
      'uint8',
    ),
    (lambda t: _set(t, 'scorer/knn/index', lambda a: a[:, :-1]), '.'),
    (lambda t: _set(t, 'scorer/mean', lambda a: np.zeros(2, 'f')), 'scores|shape'),
    (lambda t: _set(t, 'scorer/mean', lambda a: a.astype(np.float64)), 'F64'),
    (lambda t: _set(t, 'scorer/mean', lambda a: a + np.nan), 'not finite'),
    (lambda t: _set(t, 'held_out_scores', lambda a: a[None]), 'held_out_scores'),
  ],
)
def test_tensors_that_do_not_fit_are_refused(change, match, folder):
  tensors = {**safetensors.numpy.load_file(folder / WEIGHTS)}
  change(tensors)
  safetensors.numpy.save_file(tensors, folder / WEIGHTS)
  _write(folder, _read(folder))
  _refuse(folder, match)


def test_a_head_of_another_shape_is_refused(tiny_registered, tmp_path):
  folder = tmp_path / 'model'
  bundle.save(_make_of_head(), folder)
  tensors = {**safetensors.numpy.load_file(folder / WEIGHTS)}
  name = 'scorer/batch_stats/backbone/bn3/mean'
  tensors[name] = tensors[name][:1]  # would be broadcast
  safetensors.numpy.save_file(tensors, folder / WEIGHTS)
  _write(folder, _read(folder))
  _refuse(folder, name)


def test_references_are_some_of_the_majority_evenly_spaced():
  assert references.choose_majority(7).tolist() == [*range(7)]
  kept = references.choose_majority(2100)
  assert (kept[0], kept[-1], len({*kept})) == (0, 2099, 1000)
  assert set(np.diff(kept)) == {2, 3}


def test_references_are_shown_squashed():
  images = np.random.default_rng(4).integers(0, 256, (7, 70, 30, 3), np.uint8)
  means = images.mean(axis=(1, 2))
  made = references.make(means, images, np.arange(7) < 3, map(str, range(7)))
  assert made.features.dtype == np.float32
  assert made.names == (*'0123456',)
  assert made.thumbnails.shape == (7, 64, 64, 3)
  # Not cut: the mean colour stays.
  np.testing.assert_allclose(made.thumbnails.mean(axis=(1, 2)), means, atol=3)
