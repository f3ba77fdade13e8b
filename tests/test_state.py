"""What the players are made of: parameter counts, weights, keys."""

import functools
import runpy
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import backbones, game_setup, pretrained
from egan_jax import state as egan_state
from egan_jax.errors import UserError
from tests.small_runs import load_zeros

CONFIGS = Path(__file__).parents[1] / 'configs'
FINE_TUNE = 4  # of the tiny backbone: the concat, conv3, bn3, relu3


def _count(generator, discriminator):
  """Parameters of both networks; compiles nothing."""
  state = jax.eval_shape(
    functools.partial(
      egan_state.create_game_state,
      generator=generator,
      discriminator=discriminator,
      learning_rate=1e-4,
    ),
    jax.random.key(0),
  )
  return tuple(
    tuple(
      egan_state.count_parameters(network, player)[key]
      for key in ('total', 'trainable')
    )
    for network, player in (
      (state.generator, generator),
      (state.discriminator, discriminator),
    )
  )


@functools.cache
def _make(name, cut=None, fine_tune_layers=5):
  return egan_state.make_player(
    backbones.get(name),
    'none' if backbones.get(name).from_scratch else 'imagenet',
    fine_tune_layers,
    'scale',
    32,
    jax.random.key(0),
    cut=cut,
    load=load_zeros,
  )


# Total and trainable with five layers fine-tuned, as generator and as discriminator.
# Those of DenseNet121 are the paper's.
COUNTS = {
  'DenseNet121': ((7_453_391, 454_665), (7_038_529, 39_937)),
  'EfficientNetLite0': ((3_861_679, 1_229_961), (3_414_305, 782_721)),
}
# Before the pooling: total, trainable and features, for roles the paper counts not.
BACKBONES = {
  'VGG16': (14_714_688, 7_079_424, 512),
  'VGG19': (20_024_384, 9_439_232, 512),
  'ResNet101': (42_658_176, 1_054_720, 2048),
  'EfficientNetB2': (7_768_569, 498_432, 1408),
  'SmallConvEncoder': (10_400, 10_272, 8 * 8 * 32),
  'SmallConvDiscriminator': (209_792, 209_792, 8 * 8 * 128),
}
for name, (total, trainable, features) in BACKBONES.items():
  # 128 latent units and the decoder, 134 of whose numbers are statistics; or one unit.
  latent, decoder, score = features * 128 + 128, 284_687, features + 1
  COUNTS[name] = (
    (total + latent + decoder, trainable + latent + decoder - 134),
    (total + score, trainable + score),
  )


@pytest.mark.parametrize('name', ['DenseNet121', 'EfficientNetLite0'])
def test_parameter_counts(name):
  player = _make(name)
  assert _count(player, player) == COUNTS[name]


def test_parameter_counts_do_not_depend_on_the_cut():
  player = _make('DenseNet121', cut=300)
  assert _count(player, player) == COUNTS['DenseNet121']


def test_parameter_counts_without_pre_training():
  """Fig. 5: whole networks train, all but the statistics of batch norm."""
  counts = _count(_make('SmallConvEncoder'), _make('SmallConvDiscriminator'))
  assert counts == ((557_359, 557_097), (217_985, 217_985))


@pytest.mark.parametrize(
  'path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem
)
def test_parameter_counts_of_configs(path):
  config = runpy.run_path(str(path))['get_config']()
  generator, discriminator = config.generator_backbone, config.discriminator_backbone
  assert config.fine_tune_layers == 5
  assert _count(_make(generator), _make(discriminator)) == (
    COUNTS[generator][0],
    COUNTS[discriminator][1],
  )


def _make_tiny(tiny_backbone, weights, variables=None, **arguments):
  return egan_state.make_player(
    tiny_backbone,
    weights,
    FINE_TUNE,
    'scale',
    16,
    jax.random.key(1),
    load=lambda name, path: variables,
    **arguments,
  )


def _create(player):
  """States of three folds, made as a run makes them."""
  create = functools.partial(
    egan_state.create_game_state,
    generator=player,
    discriminator=player,
    learning_rate=1e-3,
  )
  return jax.jit(jax.vmap(create))(game_setup.make_keys(7, 1, 3))


@pytest.fixture(scope='module')
def random_player(tiny_backbone):
  return _make_tiny(tiny_backbone, 'none')


@pytest.fixture(scope='module')
def pretrained_player(tiny_backbone, tiny_variables):
  return _make_tiny(tiny_backbone, 'imagenet', tiny_variables)


@pytest.fixture(scope='module')
def random_states(random_player):
  return _create(random_player)


@pytest.fixture(scope='module')
def pretrained_states(pretrained_player):
  return _create(pretrained_player)


def _fold(states, index):
  return jax.tree.map(lambda leaf: leaf[index], states)


def test_keys_of_a_fold_do_not_depend_on_how_many_there_are():
  """And so its initial state does not: it is made of its key."""
  one, three = (
    jax.random.key_data(game_setup.make_keys(7, 1, number)) for number in (1, 3)
  )
  np.testing.assert_array_equal(one[0], three[0])
  assert len({key.tobytes() for key in np.asarray(three)}) == 3


def test_folds_start_from_different_weights(random_states):
  for network in (random_states.generator, random_states.discriminator):
    for path, leaf in jax.tree_util.tree_leaves_with_path(network.params):
      if path[-1].key == 'kernel':
        folds = {np.asarray(values).tobytes() for values in leaf}
        assert len(folds) == 3, path


def test_players_start_from_different_weights(random_states):
  kernels = [
    network.params['backbone']['conv3']['kernel']
    for network in (random_states.generator, random_states.discriminator)
  ]
  assert (kernels[0] != kernels[1]).any()


def test_pretrained_weights_end_up_in_trunk_and_every_fold(
  pretrained_player, pretrained_states, tiny_variables
):
  states = pretrained_states
  for collection, layers in tiny_variables.items():
    for layer, leaves in layers.items():
      if layer in ('conv3', 'bn3'):
        for network in (states.generator, states.discriminator):
          held = getattr(network, collection)['backbone'][layer]
          for fold in range(3):
            chex.assert_trees_all_equal(_fold(held, fold), leaves)
      else:
        held = pretrained_player.trunk.variables[collection][layer]
        chex.assert_trees_all_equal(held, leaves)
  # Nothing is held twice, and the new layers differ between folds.
  assert set(states.discriminator.params['backbone']) == {'conv3', 'bn3'}
  assert 'conv3' not in pretrained_player.trunk.variables['params']
  score = states.discriminator.params['score']['kernel']
  assert len({np.asarray(values).tobytes() for values in score}) == 3


def test_no_two_networks_share_a_buffer(tiny_backbone, tiny_variables):
  """A step that donates its state would give it away twice."""
  variables = jax.tree.map(jnp.asarray, tiny_variables)
  player = _make_tiny(tiny_backbone, 'imagenet', variables)
  state = egan_state.create_game_state(jax.random.key(0), player, player, 1e-3)
  kept = jax.tree.map(np.array, state.generator.params)
  doubled = jax.jit(lambda s: jax.tree.map(lambda a: 2 * a, s), donate_argnums=0)(state)
  chex.assert_trees_all_equal(
    doubled.generator.params, jax.tree.map(lambda a: 2 * a, kept)
  )
  chex.assert_trees_all_equal(player.pretrained, tiny_variables)


def test_trunk_is_shared_by_the_folds(random_player, pretrained_player):
  """It has no axis for folds, whether its weights were loaded or drawn."""
  for player in (random_player, pretrained_player):
    assert player.trunk.variables['params']['conv1']['kernel'].shape == (3, 3, 3, 8)


def test_step_counts_from_zero(pretrained_states):
  for network in (pretrained_states.generator, pretrained_states.discriminator):
    np.testing.assert_array_equal(network.step, [0, 0, 0])
    assert not network.step.weak_type


def test_fingerprint_is_that_of_the_whole_backbone(
  tiny_variables, pretrained_player, random_player
):
  assert pretrained_player.fingerprint == pretrained.fingerprint(tiny_variables)
  assert random_player.fingerprint != pretrained_player.fingerprint


# A backbone that hands its images on: nothing to compile.
IMAGE = backbones.Backbone('Image', backbones.get('VGG16').layers[:1], 'caffe')


def test_preprocessing_is_a_switch():
  for preprocess, expected in (('scale', 'none'), ('imagenet', 'caffe')):
    player = egan_state.make_player(IMAGE, 'none', 0, preprocess, 32, jax.random.key(0))
    assert player.trunk.preprocessing == expected


def test_weights_are_asked_for_by_name_and_path():
  asked = []

  def load(name, path):
    asked.append((name, path))
    return {}

  for weights in ('imagenet', '/some/file.h5', 'none'):
    egan_state.make_player(IMAGE, weights, 0, 'scale', 32, jax.random.key(0), load=load)
  assert asked == [('Image', None), ('Image', '/some/file.h5')]


def test_a_backbone_for_training_from_scratch_has_no_trunk():
  player = _make('SmallConvEncoder', fine_tune_layers=1)
  assert jax.tree.leaves(player.trunk) == []
  assert player.fine_tune_layers == len(player.backbone.layers)


def test_errors(tiny_backbone, tmp_path):
  key = jax.random.key(0)
  with pytest.raises(UserError, match=r'fine_tune_layers=99 .* 13 layers'):
    egan_state.make_player(tiny_backbone, 'none', 99, 'scale', 16, key)
  with pytest.raises(UserError, match='fine_tune_layers=-1'):
    egan_state.make_player(tiny_backbone, 'none', -1, 'scale', 16, key)
  with pytest.raises(ValueError, match='cut 10 is after layer 9'):
    egan_state.make_player(tiny_backbone, 'none', 4, 'scale', 16, key, cut=10)
  with pytest.raises(UserError, match=r'no weights file .*none\.h5'):
    path = str(tmp_path / 'none.h5')
    egan_state.make_player(backbones.get('VGG16'), path, 5, 'scale', 16, key)
  with pytest.raises(UserError, match='from scratch'):
    small = backbones.get('SmallConvEncoder')
    egan_state.make_player(small, 'imagenet', 5, 'scale', 16, key)
