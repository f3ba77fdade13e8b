"""Which backbones play together, how much of them trains, what size they see."""

import functools
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from egan_jax import backbones, freezing, steps
from egan_jax import state as egan_state
from egan_jax.backbones import preprocessing
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.errors import UserError
from tests.small_runs import load_zeros, trace_shapes

CONFIGS = Path(__file__).parents[1] / 'configs'
TABLE_3 = runpy.run_path(str(CONFIGS / 'table3.py'))
NO_PRETRAINING = runpy.run_path(str(CONFIGS / 'no_pretraining.py'))
NUM_FOLDS, NUM_MINORITY, NUM_MAJORITY, BATCH = 2, 3, 5, 4


@functools.cache
def _load_random(name, path):
  """Weights that let a signal through, without compiling an initialisation."""
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    layer, kind = path[-2].key, path[-1].key
    if kind == 'kernel':
      *window, inputs, outputs = leaf.shape
      depthwise = outputs == 1
      scale = np.sqrt(2 / np.prod([*window, 1 if depthwise else inputs]))
      return scale * rng.standard_normal(leaf.shape, np.float32)
    if layer == 'normalization' and kind == 'var':
      # EfficientNet takes images for [0, 255], and 'scale' leaves them in [0, 1].
      return np.full(leaf.shape, 1e-6, np.float32)
    return np.full(leaf.shape, kind in ('scale', 'var'), np.float32)

  return jax.tree_util.tree_map_with_path(draw, trace_shapes(name))


def _make_player(name, load, weights=None, fine_tune_layers=5, image_size=32):
  backbone = backbones.get(name)
  return egan_state.make_player(
    backbone,
    weights or ('none' if backbone.from_scratch else 'imagenet'),
    fine_tune_layers,
    'scale',
    image_size,
    jax.random.key(0),
    load=load,
  )


def _creator(generator, discriminator, **options):
  """A function of fold keys `[F]` that makes the states of all folds."""
  create = functools.partial(
    egan_state.create_game_state,
    generator=generator,
    discriminator=discriminator,
    learning_rate=1e-3,
    **options,
  )
  return jax.vmap(create)


def _keys():
  return jax.random.split(jax.random.key(1), NUM_FOLDS)


# Discriminator, generator.
PAIRS = {
  **TABLE_3['ROWS'],
  'discriminator': ('SmallConvDiscriminator', 'DenseNet121'),
  'both': ('SmallConvDiscriminator', 'SmallConvEncoder'),
}
QUICK_PAIRS = 'vgg19_efficientnetb2', 'both'

# Parameters, those that train with five layers fine-tuned, length of the vector.
SIZES = {
  'DenseNet121': (7_037_504, 38_912, 1024),
  'VGG16': (14_714_688, 7_079_424, 512),
  'VGG19': (20_024_384, 9_439_232, 512),
  'ResNet101': (42_658_176, 1_054_720, 2048),
  'EfficientNetB2': (7_768_569, 498_432, 1408),
  'SmallConvEncoder': (10_400, 10_400 - 4 * 32, 8 * 8 * 32),  # trains whole
  'SmallConvDiscriminator': (209_792, 209_792, 8 * 8 * 128),
}
DECODER, DECODER_STATISTICS = 284_687, 2 * (64 + 3)


def _trace_epoch(discriminator, generator):
  """States before and after an epoch and its loss terms, as shapes."""
  images = jax.ShapeDtypeStruct((NUM_MAJORITY, 32, 32, 3), jnp.float32)
  drawn = jax.ShapeDtypeStruct((NUM_MINORITY, 32, 32, 3), jnp.float32)
  minority = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct((NUM_FOLDS, *a.shape), a.dtype),
    jax.eval_shape(generator.trunk, drawn),
  )
  before = jax.eval_shape(_creator(generator, discriminator), _keys())
  after, terms = jax.eval_shape(
    functools.partial(steps.train_folds_epoch, batch_size=BATCH),
    before,
    jnp.ones(NUM_FOLDS, bool),
    discriminator.trunk,
    jax.eval_shape(discriminator.trunk, images),
    minority,
    _keys(),
  )
  return before, after, terms


def _count(state, player):
  fold = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), state)
  counts = egan_state.count_parameters(fold, player)
  return counts['total'], counts['trainable']


@pytest.mark.parametrize(
  'pair',
  [
    pytest.param(pair, marks=[] if pair in QUICK_PAIRS else [pytest.mark.slow])
    for pair in PAIRS
  ],
)
def test_pair_fits_together(pair):
  """An epoch of the real networks, traced but not run."""
  discriminator, generator = (_make_player(name, load_zeros) for name in PAIRS[pair])
  before, after, terms = _trace_epoch(discriminator, generator)
  assert jax.tree.structure(before) == jax.tree.structure(after)
  assert jax.tree.leaves(before) == jax.tree.leaves(after)
  assert set(terms) == {'majority', 'generated', 'generator'}
  assert {term.shape for term in terms.values()} == {(NUM_FOLDS,)}

  total, trainable, features = SIZES[PAIRS[pair][0]]
  counts = _count(before.discriminator, discriminator)
  assert counts == (total + features + 1, trainable + features + 1)
  total, trainable, features = SIZES[PAIRS[pair][1]]
  added = features * 128 + 128 + DECODER
  counts = _count(before.generator, generator)
  assert counts == (total + added, trainable + added - DECODER_STATISTICS)


def test_from_no_layer_to_all():
  """Traced with nothing and with everything fine-tuned, the cut where it falls."""
  total, _, features = SIZES['VGG16']
  for layers, trainable in ((0, 0), (19, total)):
    player = _make_player('VGG16', load_zeros, fine_tune_layers=layers)
    before, after, _ = _trace_epoch(player, player)
    assert jax.tree.leaves(before) == jax.tree.leaves(after)
    counts = _count(after.discriminator, player)
    assert counts == (total + features + 1, trainable + features + 1)


def test_too_many_layers():
  with pytest.raises(UserError, match=r'fine_tune_layers=20 .* 19 layers'):
    _make_player('VGG16', load_zeros, fine_tune_layers=20)


def _train(discriminator, generator, num_epochs=2, **options):
  """States before and after training on random images, and the last loss terms."""
  rng = np.random.default_rng(0)
  majority, drawn = (
    rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    for count in (NUM_MAJORITY, NUM_FOLDS * NUM_MINORITY)
  )
  majority = compute_boundary_activations(discriminator.trunk, majority)
  minority = jax.tree.map(
    lambda a: a.reshape(NUM_FOLDS, NUM_MINORITY, *a.shape[1:]),
    compute_boundary_activations(generator.trunk, drawn),
  )
  before = states = jax.jit(_creator(generator, discriminator, **options))(_keys())
  epoch = jax.jit(steps.train_folds_epoch, static_argnames='batch_size')
  for _ in range(num_epochs):
    states, terms = epoch(
      states,
      jnp.ones(NUM_FOLDS, bool),
      discriminator.trunk,
      majority,
      minority,
      _keys(),
      batch_size=BATCH,
    )
  return before, states, terms


def _assert_trained(before, after, terms, players):
  """Losses are finite; what is to train changed in every fold, the rest nowhere."""
  assert all(np.isfinite(term).all() for term in terms.values()), terms
  for role, player in players.items():
    params = getattr(before, role).params
    labels = freezing.label_parameters(
      params, player.backbone.layers, player.fine_tune_layers
    )
    labels, old, new = (
      traverse_util.flatten_dict(tree, sep='/')
      for tree in (labels, params, getattr(after, role).params)
    )
    for path, label in labels.items():
      changed = (np.asarray(old[path]) != np.asarray(new[path])).reshape(NUM_FOLDS, -1)
      if label == freezing.TRAINABLE:
        assert changed.any(axis=1).all(), f'{role} {path} did not train'
      else:
        assert not changed.any(), f'{role} {path} is not frozen'


def _assert_pair_trains(discriminator, generator, **options):
  results = _train(discriminator, generator, **options)
  _assert_trained(*results, {'generator': generator, 'discriminator': discriminator})


@pytest.mark.parametrize('fine_tune_layers', [0, 13])
def test_tiny_pair_trains(
  fine_tune_layers, tiny_backbone, tiny_registered, tiny_variables
):
  assert len(tiny_backbone.layers) == 13
  player = _make_player('Tiny', lambda *_: tiny_variables, None, fine_tune_layers)
  _assert_pair_trains(player, player)


def test_small_networks_train():
  discriminator = _make_player('SmallConvDiscriminator', None)
  generator = _make_player('SmallConvEncoder', None)
  _assert_pair_trains(
    discriminator, generator, dropout_rate=0.0, head_activation='sigmoid'
  )


def test_pair_with_a_randomly_initialised_backbone_trains(tiny_registered):
  discriminator = _make_player('Tiny', None, weights='none')
  generator = _make_player('SmallConvEncoder', None)
  _assert_pair_trains(discriminator, generator)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['EfficientNetLite0', 'VGG16'])
def test_randomly_initialised_backbone_trains(name):
  discriminator = _make_player(name, None, weights='none')
  generator = _make_player('SmallConvEncoder', None)
  _assert_pair_trains(discriminator, generator)


@pytest.mark.slow
@pytest.mark.parametrize('row', TABLE_3['ROWS'])
def test_row_of_table_3_trains(row):
  names = TABLE_3['ROWS'][row]
  discriminator, generator = (_make_player(name, _load_random) for name in names)
  _assert_pair_trains(discriminator, generator)


@pytest.mark.slow
def test_pre_trained_generator_trains_against_the_small_discriminator():
  discriminator = _make_player('SmallConvDiscriminator', None)
  generator = _make_player('DenseNet121', _load_random)
  _assert_pair_trains(
    discriminator, generator, dropout_rate=0.0, head_activation='sigmoid'
  )


def test_configs():
  for row, (discriminator, generator) in TABLE_3['ROWS'].items():
    config = TABLE_3['get_config'](row)
    assert row == f'{discriminator}_{generator}'.lower()
    assert config.discriminator_backbone == discriminator
    assert config.generator_backbone == generator
    assert config.head_activation == 'linear'
  for without in NO_PRETRAINING['WITHOUT']:
    config = NO_PRETRAINING['get_config'](without)
    pair = (config.discriminator_backbone, config.generator_backbone)
    assert pair == PAIRS[without]
    assert (config.head_activation, config.dropout_rate) == ('sigmoid', 0.0)
    weights = {
      name: config[f'{name}_weights'] for name in ('generator', 'discriminator')
    }
    for role, name in zip(('discriminator', 'generator'), pair, strict=True):
      small = backbones.get(name).from_scratch
      assert weights[role] == ('none' if small else 'imagenet')
  for table in (TABLE_3, NO_PRETRAINING):
    with pytest.raises(UserError, match="'x': choose one of"):
      table['get_config']('x')


@pytest.mark.parametrize('image_size', [32, 96, 224])
def test_images_are_resized_on_the_device(image_size, tiny_backbone, tiny_variables):
  graph = tiny_backbone.graph()
  name = tiny_backbone.layers[-1].name
  whole = graph.clone(output=(name,))
  trunk = Trunk(tiny_variables, whole, 'none', image_size)
  images = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
  resized = jax.image.resize(images, (2, image_size, image_size, 3), 'bilinear')
  expected = graph.apply(tiny_variables, resized)
  actual = jax.jit(lambda x: trunk(x)[name])(images)
  # The tiny backbone halves the sides twice.
  assert actual.shape == (2, image_size // 4, image_size // 4, 12)
  np.testing.assert_allclose(actual, expected, atol=1e-5)

  gradient = jax.jit(jax.grad(lambda x: jnp.sum(trunk(x)[name])))(images)
  assert gradient.shape == images.shape
  assert np.isfinite(gradient).all()
  assert (np.abs(gradient).max(axis=(1, 2, 3)) > 0).all()


def test_32_pixels_are_left_alone():
  images = jnp.zeros((2, 32, 32, 3))
  assert preprocessing.resize(images, 32) is images
