"""The peer of the benchmark plays the same game as ours."""

import dataclasses
import functools
import importlib.util

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

from egan_jax import backbones, freezing, steps
from egan_jax.backbones import graph
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.state import create_game_state, make_player
from experiments.benchmark import keras_networks
from experiments.benchmark.processes import Process

_NEEDS_TENSORFLOW = pytest.mark.skipif(
  importlib.util.find_spec('tensorflow') is None, reason='needs the extra benchmark'
)


def _disturb(variables, seed):
  """Variables that hide no mistake.

  No biases of 0 and no batch statistics of 0 and 1; larger kernels, so that neither
  activations nor gradients vanish.
  """
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda a: (
      a + rng.uniform(0, 0.2, a.shape).astype(np.float32)
      if a.ndim == 1
      else a * np.float32(2**0.5)
    ),
    variables,
  )


def _make_player(backbone, seed):
  key = jax.random.key(seed)
  variables = jax.jit(backbone.graph().init)(key, jnp.zeros((1, 32, 32, 3)))
  return make_player(
    backbone,
    'a file',
    fine_tune_layers=5,
    preprocess='scale',
    image_size=32,
    key=key,
    load=lambda *_: _disturb(variables, seed),
  )


def _make_game(backbone):
  """Two players, their state without dropout, and what a weights file holds."""
  players = {
    'generator': _make_player(backbone, 0),
    'discriminator': _make_player(backbone, 1),
  }
  create = functools.partial(
    create_game_state, **players, learning_rate=1e-4, dropout_rate=0.0
  )
  state = jax.jit(create)(jax.random.key(2))
  state = state.replace(
    **{
      name: getattr(state, name).replace(
        params=_disturb(getattr(state, name).params, 3),
        batch_stats=_disturb(getattr(state, name).batch_stats, 4),
      )
      for name in players
    }
  )
  weights = {
    name: {
      'trunk': player.trunk.variables,
      'params': getattr(state, name).params,
      'batch_stats': getattr(state, name).batch_stats,
    }
    for name, player in players.items()
  }
  return players, state, flax.traverse_util.flatten_dict(weights, sep='/')


def _of(name, weights):
  return {key: value for key, value in weights.items() if key.startswith(f'{name}/')}


def _make_tiny_keras():
  """The fixture `tiny_backbone` in Keras, its last five layers trainable."""
  layers = keras.layers

  def convolve(x, index, features, size, strides=1):
    x = layers.Conv2D(
      features, size, strides, 'same', use_bias=False, name=f'conv{index}'
    )(x)
    x = layers.BatchNormalization(name=f'bn{index}')(x)
    return layers.ReLU(name=f'relu{index}')(x)

  image = keras.Input((32, 32, 3))
  branch = convolve(image, 1, 8, 3, strides=2)
  x = layers.MaxPooling2D(name='pool1')(branch)
  x = convolve(x, 2, 8, 3)
  x = layers.Concatenate(name='concat')([x, layers.MaxPooling2D(name='pool2')(branch)])
  backbone = keras.Model(image, convolve(x, 3, 12, 1))
  for layer in backbone.layers[:-5]:
    layer.trainable = False
  return backbone


@pytest.fixture(scope='module')
def tiny_game(tiny_backbone):
  return _make_game(tiny_backbone)


@pytest.mark.parametrize('train', [False, True])
def test_networks_equal_ours(tiny_game, train):
  players, state, weights = tiny_game
  generator = keras_networks.build_generator(_make_tiny_keras())
  discriminator = keras_networks.build_discriminator(_make_tiny_keras(), 0.0)
  for model in (generator, discriminator):
    keras_networks.set_weights(model, _of(model.name, weights))
  images = np.random.default_rng(5).uniform(size=(4, 32, 32, 3)).astype(np.float32)

  @functools.partial(jax.jit, static_argnums=0)
  def run_ours(name):
    network = getattr(state, name)
    result, _ = network.apply_fn(
      {'params': network.params, 'batch_stats': network.batch_stats},
      players[name].trunk(images),
      train=train,
      mutable=['batch_stats'],
    )
    return result

  np.testing.assert_allclose(
    generator(images, training=train), run_ours('generator'), atol=1e-5
  )
  np.testing.assert_allclose(
    discriminator(images, training=train)[:, 0], run_ours('discriminator'), atol=1e-5
  )
  # What trains is what trains in ours.
  assert {v.path.split('/')[-2] for v in discriminator.trainable_variables} == {
    *('conv3', 'bn3', 'score')
  }


def test_set_weights_is_strict(tiny_game):
  values = _of('discriminator', tiny_game[2])
  model = keras_networks.build_discriminator(_make_tiny_keras(), 0.2)
  bias = 'discriminator/params/score/bias'
  wrong = {
    'nothing for': {k: v for k, v in values.items() if k != bias},
    'no variable of': {**values, 'discriminator/params/score/scale': values[bias]},
    'comes twice': {**values, 'discriminator/trunk/params/score/bias': values[bias]},
    'should be': {**values, bias: np.zeros(2, np.float32)},
  }
  for message, changed in wrong.items():
    with pytest.raises(ValueError, match=message):
      keras_networks.set_weights(model, changed)


@pytest.fixture(scope='module')
def peer():
  with Process('experiments.benchmark.keras_reference') as process:
    yield process


def _keras_adam(learning_rate, eps, b1=0.9, b2=0.999):
  """Adam with epsilon where Keras has it: before the second moment is corrected."""

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return jnp.zeros((), jnp.int32), zeros, zeros

  def update(gradients, state, _):
    count, means, squares = state
    count += 1
    means = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, means, gradients)
    squares = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, squares, gradients)
    rate = learning_rate * jnp.sqrt(1 - b2**count) / (1 - b1**count)
    updates = jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + eps), means, squares)
    return updates, (count, means, squares)

  return optax.GradientTransformation(init, update)


@pytest.fixture(scope='module')
def vgg_game(tmp_path_factory):
  with pytest.MonkeyPatch.context() as monkeypatch:
    # The one known difference between the games, which would hide smaller ones.
    monkeypatch.setattr(freezing.optax, 'adam', _keras_adam)
    players, state, weights = _make_game(backbones.get('VGG16'))
  path = tmp_path_factory.mktemp('weights') / 'weights.npz'
  np.savez(path, **weights)
  return players, state, path


@_NEEDS_TENSORFLOW
@pytest.mark.parametrize(('pixels', 'image_size'), [(32, 40), (48, 32)])
def test_losses_equal_ours(peer, vgg_game, tmp_path, pixels, image_size):
  players, state, weights = vgg_game
  players = {
    name: dataclasses.replace(player, trunk=player.trunk.replace(image_size=image_size))
    for name, player in players.items()
  }
  rng = np.random.default_rng(6)
  images = {
    name: rng.integers(0, 256, (*shape, pixels, pixels, 3), np.uint8)
    for name, shape in {'minority': (2, 3), 'majority': (12,), 'test': (5,)}.items()
  }
  np.savez(tmp_path / 'images.npz', **images)
  batches = [[1, 4, 7, 11, 0, 2], [3, 5], list(range(12))]

  trunk = players['discriminator'].trunk
  majority, test = (
    compute_boundary_activations(trunk, images[name]) for name in ('majority', 'test')
  )
  minority = compute_boundary_activations(
    players['generator'].trunk, images['minority'][1]
  )
  train_step = jax.jit(steps.train_step)
  expected = []
  for batch in batches:
    padded = np.array(batch + [0] * (12 - len(batch)))
    state, sums = train_step(
      state,
      trunk,
      jax.tree.map(lambda a, i=padded: a[i], majority),
      jnp.arange(12) < len(batch),
      minority,
      jax.random.key(0),
    )
    expected.append({name: total / count for name, (total, count) in sums.items()})

  peer.ask(
    'setup',
    images=str(tmp_path / 'images.npz'),
    weights=str(weights),
    backbone='VGG16',
    image_size=image_size,
    dropout_rate=0.0,
  )
  answer = peer.ask('losses', batches=batches[:2], fold=1)
  assert len(answer['seconds']) == 2
  # An epoch of one batch: all majority images, in whatever order.
  losses = [*answer['losses'], peer.ask('epoch', fold=1)['losses']]
  for ours, theirs in zip(expected, losses, strict=True):
    chex.assert_trees_all_close(theirs, ours, rtol=1e-4)
  scores = peer.ask('evaluate', batch_size=2)['scores']
  np.testing.assert_allclose(
    scores, steps.score(state.discriminator, test, 5), rtol=1e-4, atol=1e-5
  )


@_NEEDS_TENSORFLOW
@pytest.mark.parametrize('backward', [False, True])
def test_trunk_is_timed(peer, backward):
  layers = backbones.get('VGG16').layers
  answer = peer.ask(
    'trunk',
    backbone='VGG16',
    outputs=graph.boundary_names(layers, len(layers) - 5),
    image_size=32,
    batch_size=2,
    backward=backward,
    repeats=3,
  )
  assert len(answer['seconds']) == 3
  assert min(answer['seconds']) > 0
  assert answer['peak_memory_bytes'] > 2**27
