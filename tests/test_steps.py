import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egan_jax import backbones, steps
from egan_jax import state as egan_state
from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Chunks, Trunk, fit_chunks
from tests.comparing import assert_close
from tests.small_runs import make_tiny_player

NUM_MAJORITY, NUM_MINORITY, NUM_FOLDS, BATCH = 11, 3, 2, 4


def _images(seed, *shape):
  return np.random.default_rng(seed).integers(0, 256, (*shape, 16, 16, 3), np.uint8)


@pytest.fixture(scope='module', autouse=True)
def double_precision():
  """Float64, so that what must be equal is equal far below what float32 rounds.

  A bias in front of a batch norm has a gradient of zero; in float32 its rounding
  noise is large enough for Adam to turn into steps that differ.
  """
  with jax.enable_x64(True):
    yield


def _in_double(tree):
  return jax.tree.map(
    lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree
  )


class Setting:
  """A small game at a cut: players, activations and states of every fold."""

  def __init__(self, variables, cut=None):
    self.player = make_tiny_player(variables, cut=cut)
    self.trunk = _in_double(jax.tree.map(jnp.asarray, self.player.trunk))
    activations = jax.jit(lambda images: self.trunk(images / 255.0))
    self.majority = activations(_images(0, NUM_MAJORITY))
    self.minority = jax.tree.map(
      lambda a: a.reshape(NUM_FOLDS, NUM_MINORITY, *a.shape[1:]),
      activations(_images(1, NUM_FOLDS * NUM_MINORITY)),
    )
    self.keys = jax.random.split(jax.random.key(3), NUM_FOLDS)
    create = functools.partial(
      egan_state.create_game_state,
      generator=self.player,
      discriminator=self.player,
      learning_rate=1e-2,
    )
    with jax.enable_x64(False):
      states = jax.jit(jax.vmap(create))(self.keys)
    self.states = _in_double(states)

  def fold(self, index):
    return jax.tree.map(lambda a: a[index], (self.states, self.minority, self.keys))

  def train(self, epochs, active=(True, True), chunks=None):
    states = self.states
    epoch = jax.jit(steps.train_folds_epoch, static_argnames=('batch_size', 'chunks'))
    for _ in range(epochs):
      states, terms = epoch(
        states,
        jnp.array(active),
        self.trunk,
        self.majority,
        self.minority,
        self.keys,
        batch_size=BATCH,
        chunks=chunks,
      )
    return states, terms


@pytest.fixture(scope='module')
def make_setting(tiny_variables):
  """The setting of a cut, made once."""
  return functools.cache(functools.partial(Setting, tiny_variables))


@pytest.fixture(scope='module')
def setting(make_setting):
  return make_setting()


_assert_close = functools.partial(assert_close, tolerance=1e-7, smallest_scale=1.0)


def _descend(loss, network):
  """The loss, and the parameters after a step of the network's optimiser."""
  value, gradients = jax.value_and_grad(loss)(network.params)
  updates, _ = network.tx.update(gradients, network.opt_state, network.params)
  return value, optax.apply_updates(network.params, updates)


def test_step_is_two_separate_gradient_steps(setting):
  """The reference writes the two players down one at a time, as equation (1) does."""
  state, minority, key = setting.fold(0)
  batch = jax.tree.map(lambda a: a[:BATCH], setting.majority)
  mask = jnp.array([True, True, True, False])
  new, sums = jax.jit(steps.train_step)(
    state, setting.trunk, batch, mask, minority, key
  )

  keys = jax.random.split(key)
  images, batch_stats = jax.jit(steps.generate)(
    state.generator, state.generator.params, minority
  )

  def score(params, boundary, key):
    return steps.discriminate(state.discriminator, params, boundary, key)

  def discriminator_loss(params):
    real = jax.nn.sigmoid(score(params, batch, keys[0])[:3])
    fake = jax.nn.sigmoid(score(params, setting.trunk(images), keys[1]))
    return -jnp.log(real).mean() - jnp.log(1 - fake).mean()

  def generator_loss(params):
    images, _ = steps.generate(state.generator, params, minority)
    boundary = setting.trunk(images)
    fake = jax.nn.sigmoid(score(state.discriminator.params, boundary, keys[1]))
    return -jnp.log(fake).mean()

  means = {name: total / count for name, (total, count) in sums.items()}
  means['discriminator'] = means['majority'] + means['generated']
  for name, loss in (
    ('discriminator', discriminator_loss),
    ('generator', generator_loss),
  ):
    value, expected = jax.jit(_descend, static_argnums=0)(loss, getattr(state, name))
    _assert_close(getattr(new, name).params, expected)
    _assert_close(means[name], value)
  _assert_close(new.generator.batch_stats, batch_stats)


@pytest.mark.parametrize('cut', [0, 5])
def test_cached_equals_uncached(make_setting, setting, cut):
  """Wherever the network is cut, the whole state after three epochs is the same."""
  other = make_setting(cut)
  (cached, terms), (uncached, other_terms) = setting.train(3), other.train(3)
  _assert_close(terms, other_terms)
  for name in ('generator', 'discriminator'):
    ours, theirs = getattr(cached, name).params, getattr(uncached, name).params
    assert set(theirs['backbone']) >= set(ours['backbone'])
    theirs = dict(theirs, backbone={k: theirs['backbone'][k] for k in ours['backbone']})
    _assert_close(ours, theirs)


def _gradients(setting):
  """Of both networks in the first step: what a plain gradient step takes off."""
  state, minority, key = setting.fold(0)
  descent = optax.sgd(1.0)
  networks = [
    network.replace(tx=descent, opt_state=descent.init(network.params))
    for network in (state.generator, state.discriminator)
  ]
  batch = jax.tree.map(lambda a: a[:BATCH], setting.majority)
  new, _ = jax.jit(steps.train_step)(
    egan_state.GameState(*networks),
    setting.trunk,
    batch,
    jnp.ones(BATCH, bool),
    minority,
    key,
  )
  return [
    jax.tree.map(jnp.subtract, old.params, trained.params)
    for old, trained in zip(networks, (new.generator, new.discriminator), strict=True)
  ]


@pytest.mark.parametrize('cut', [0, 5])
def test_cached_gradients_equal_uncached(make_setting, setting, cut):
  other = _gradients(make_setting(cut))
  for ours, theirs in zip(_gradients(setting), other, strict=True):
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(ours)) > 1e-3
    theirs = dict(theirs, backbone={k: theirs['backbone'][k] for k in ours['backbone']})
    _assert_close(ours, theirs, tolerance=1e-10)


def _make_trunk(backbone, image_size):
  layers = backbones.get(backbone).layers
  return Trunk({}, graph.split(layers, len(layers))[0], 'none', image_size)


def test_chunks_suit_the_device(monkeypatch):
  small, large, huge = (_make_trunk('DenseNet121', size) for size in (32, 96, 4096))
  smooth = _make_trunk('EfficientNetB2', 32)
  assert fit_chunks(small) == Chunks(128, 5120)
  assert fit_chunks(_make_trunk('VGG16', 32)) == fit_chunks(small)
  assert fit_chunks(smooth) == Chunks(128, 512)
  assert fit_chunks(large) == Chunks(14, 560)
  assert fit_chunks(huge).size == 1
  assert fit_chunks(large, of_32_px=90).size == 10
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert fit_chunks(small) == fit_chunks(smooth) == Chunks(2048, 8192)
  assert fit_chunks(large, of_32_px=90).size == 10


def test_folds_share_a_chunk():
  assert Chunks(14, 560).share(5) == Chunks(2, 112)
  assert Chunks(2, 8).share(9) == Chunks(1, 1)


@pytest.mark.parametrize('size', [1, 4])
def test_chunks_of_generated_images_change_nothing(setting, size):
  """Of 2 folds with 3 images each: chunks of one and of two."""
  _assert_close(setting.train(2, chunks=Chunks(size, 4)), setting.train(2))


@pytest.mark.parametrize(
  ('chunks', 'kept'),
  [(Chunks(1, 5), False), (Chunks(2, 6), True), (Chunks(4, 6), True)],
)
def test_chunks_have_the_gradient_of_the_whole(tiny_player, chunks, kept):
  """Of 6 images: computed again for the backward pass, kept, and kept with padding."""
  images = np.random.default_rng(0).random((6, 16, 16, 3), np.float32)

  def loss(images, chunks=None):
    activations = steps.run_trunk(tiny_player.trunk, images, chunks)
    return sum(jnp.sum(a**2) for a in jax.tree.leaves(activations))

  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  _assert_close(gradient(images, chunks), gradient(images), tolerance=1e-5)
  program = str(jax.make_jaxpr(gradient, static_argnums=1)(images, chunks))
  assert ('remat' not in program) == kept


def test_frozen_leaves_stay_and_others_move(make_setting):
  setting = make_setting(0)
  states, _ = setting.train(2)
  for name in ('generator', 'discriminator'):
    before, after = getattr(setting.states, name), getattr(states, name)
    for layer in ('conv1', 'bn1', 'conv2', 'bn2'):
      chex.assert_trees_all_equal(
        before.params['backbone'][layer], after.params['backbone'][layer]
      )
    moving = {key: after.params[key] for key in after.params if key != 'backbone'}
    moving['backbone'] = {
      layer: after.params['backbone'][layer] for layer in ('conv3', 'bn3')
    }
    for path, leaf in jax.tree_util.tree_leaves_with_path(moving):
      old = functools.reduce(lambda tree, key: tree[key.key], path, before.params)
      assert (np.asarray(old) != np.asarray(leaf)).any(), path
    # The backbone's statistics never move, whichever of its layers train.
    chex.assert_trees_all_equal(
      before.batch_stats['backbone'], after.batch_stats['backbone']
    )


def test_frozen_leaves_carry_no_optimiser_state(make_setting):
  setting = make_setting(0)
  discriminator = setting.fold(0)[0].discriminator
  trained = egan_state.count_parameters(discriminator, setting.player)['trainable']
  sizes = sum(leaf.size for leaf in jax.tree.leaves(discriminator.opt_state))
  assert sizes == 2 * trained + 1  # two moments, one step count


def test_vmapped_folds_equal_one_by_one(setting):
  """Dropout masks and shuffles included."""
  together, terms = setting.train(3)
  score = jax.jit(steps.score, static_argnums=2)
  score_folds = jax.jit(steps.score_folds, static_argnums=2)
  scores = score_folds(together.discriminator, setting.majority, 4)
  train_epoch = jax.jit(steps.train_epoch, static_argnums=5)
  for index in range(NUM_FOLDS):
    state, minority, key = setting.fold(index)
    for _ in range(3):
      state, alone = train_epoch(
        state, setting.trunk, setting.majority, minority, key, BATCH
      )
    _assert_close(jax.tree.map(lambda a, i=index: a[i], together), state)
    _assert_close({name: values[index] for name, values in terms.items()}, alone)
    _assert_close(scores[index], score(state.discriminator, setting.majority, 512))


def test_stopped_fold_keeps_its_state(setting):
  states, _ = setting.train(1, active=(True, False))
  stopped = jax.tree.map(lambda a: a[1], states)
  chex.assert_trees_all_equal(stopped, setting.fold(1)[0])
  _assert_close(
    jax.tree.map(lambda a: a[0], states),
    jax.tree.map(lambda a: a[0], setting.train(1)[0]),
  )


@pytest.mark.parametrize('number, batch_size', [(11, 4), (8, 4), (3, 4), (1, 128)])
def test_an_epoch_sees_every_image_once(number, batch_size):
  order = jax.random.permutation(jax.random.key(0), number)
  indices, mask = steps.cut_into_batches(order, batch_size)
  assert indices.shape == mask.shape
  assert len(indices) == -(-number // batch_size)
  np.testing.assert_array_equal(indices[mask], order)


def test_padding_does_not_count(setting):
  """A batch of three plus padding is a batch of three, to the gradients."""
  state, minority, key = setting.fold(0)
  padded = jax.tree.map(lambda a: a[jnp.array([0, 1, 2, 2])], setting.majority)
  other = jax.tree.map(lambda a: a[jnp.array([0, 1, 2, 9])], setting.majority)
  mask = jnp.array([True, True, True, False])
  step = jax.jit(steps.train_step)
  results = [
    step(state, setting.trunk, b, mask, minority, key) for b in (padded, other)
  ]
  chex.assert_trees_all_equal(*results)


def test_scores_do_not_depend_on_the_batch(setting):
  state, _, _ = setting.fold(0)
  score = jax.jit(steps.score, static_argnums=2)
  scores = [score(state.discriminator, setting.majority, size) for size in (1, 4, 99)]
  for other in scores[1:]:
    _assert_close(scores[0], other)
  assert scores[0].shape == (NUM_MAJORITY,)


@pytest.mark.parametrize('num_images', [1, 7, 8, 9, 20])
def test_map_in_batches_is_the_map(num_images):
  images = {'a': jnp.arange(num_images * 6.0).reshape(num_images, 2, 3)}
  got = steps.map_in_batches(lambda part: part['a'].sum(axis=1), images, batch_size=8)
  np.testing.assert_array_equal(got, images['a'].sum(axis=1))
