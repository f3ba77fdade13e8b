"""Training of the head: against a step by hand, one by one, and eGAN's own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from egan_jax import state as egan_state
from egan_jax.models.pooling import pool
from egan_jax.rivals import head, losses, objectives
from tests.small_runs import make_tiny_player


@pytest.fixture(scope='module')
def short(training):
  """Two epochs of small steps, which leave rounding errors small."""
  return dataclasses.replace(training, num_epochs=2, learning_rate=1e-3)


@pytest.fixture(scope='module')
def discriminator(tiny_player, training):
  """eGAN's discriminator with the key of seed 5, before training."""
  create = functools.partial(
    egan_state.create_game_state,
    generator=tiny_player,
    discriminator=tiny_player,
    learning_rate=training.learning_rate,
  )
  return jax.jit(create)(jax.random.key(5)).discriminator


def _apply(network, params, boundary):
  variables = {'params': params, 'batch_stats': network.batch_stats}
  return network.apply_fn(variables, boundary)


def _one_draw(images):
  return jax.tree.map(lambda a: a[0], images.minority)


def test_without_training_it_is_egans_discriminator(images, training, discriminator):
  untrained = dataclasses.replace(training, num_epochs=0)
  scorer, _ = head.fit_draws(
    objectives.FINE_TUNED, images.majority, images.minority, (5, 6), untrained
  )
  expected = _apply(discriminator, discriminator.params, images.test)
  np.testing.assert_allclose(scorer.scores(images.test), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'name, loss',
  [
    ('FINE_TUNED', losses.cross_entropy),
    ('CLASS_WEIGHTED', lambda s, m: losses.class_weighted(s, m, 3 / 93)),
  ],
)
def test_two_full_batches_are_two_steps_of_adam(
  images, training, discriminator, name, loss
):
  """All images in one batch and no dropout: plain gradient steps on the mean loss."""
  whole = dataclasses.replace(training, num_epochs=2, batch_size=93, dropout_rate=0.0)
  (scorer,) = head.fit_draws(
    getattr(objectives, name),
    images.majority,
    jax.tree.map(lambda a: a[:1], images.minority),
    (5,),
    whole,
  )
  everything = jax.tree.map(
    lambda *parts: jnp.concatenate(parts), images.majority, _one_draw(images)
  )
  is_minority = jnp.arange(93) >= 90
  params = discriminator.params
  adam = optax.adam(training.learning_rate, eps=1e-7)
  adam_state = adam.init(params)

  def mean_loss(params):
    return loss(_apply(discriminator, params, everything), is_minority).mean()

  differentiate = jax.jit(jax.grad(mean_loss))
  for _ in range(2):
    updates, adam_state = adam.update(differentiate(params), adam_state)
    params = optax.apply_updates(params, updates)
  expected = _apply(discriminator, params, images.test)
  before = _apply(discriminator, discriminator.params, images.test)
  assert np.abs(expected - before).max() > 1e-3
  np.testing.assert_allclose(scorer.scores(images.test), expected, rtol=1e-3, atol=1e-5)


# One of each way to score and to make batches.
@pytest.mark.parametrize('name', ['FOCAL', 'DEVIATION_NETWORK', 'DEEP_SAD'])
def test_draws_side_by_side_are_draws_one_by_one(images, short, name):
  fit = functools.partial(head.fit_draws, getattr(objectives, name), images.majority)
  together = fit(images.minority, (1, 2), short)
  for draw, seed in enumerate((1, 2)):
    minority = jax.tree.map(lambda a, draw=draw: a[draw : draw + 1], images.minority)
    (alone,) = fit(minority, (seed,), short)
    np.testing.assert_allclose(
      together[draw].scores(images.test),
      alone.scores(images.test),
      rtol=2e-3,
      atol=2e-4,
    )


def test_pooled_features_are_those_of_the_whole_backbone(
  images, training, tiny_backbone, tiny_variables, tiny_player
):
  pictures = np.random.default_rng(0).random((5, 16, 16, 3)).astype(np.float32)
  whole = tiny_backbone.graph().apply(tiny_variables, pictures)
  got = head.pool_features(tiny_player.trunk(pictures), training)
  np.testing.assert_allclose(got, pool(whole, 'average'), rtol=1e-4, atol=1e-6)


def test_what_is_frozen_stays(tiny_variables, training):
  """A cut before the first layer that trains leaves frozen layers in the head."""
  early = make_tiny_player(tiny_variables, cut=3)
  pictures = np.random.default_rng(1).random((12, 16, 16, 3)).astype(np.float32)
  boundary = jax.jit(lambda x: early.trunk(x))(pictures)
  minority = jax.tree.map(lambda a: a[None, :2], boundary)
  training = dataclasses.replace(training, player=early)
  keys = jnp.stack([jax.random.key(0)])
  networks = training.create_networks(keys)
  before = traverse_util.flatten_dict(jax.tree.map(np.asarray, networks.params))
  trained = head._train_epoch(
    objectives.FINE_TUNED, training.head, 4, networks, {}, boundary, minority, keys
  )
  after = traverse_util.flatten_dict(jax.tree.map(np.asarray, trained.params))
  changed = {
    path[1] for path in before if not np.array_equal(before[path], after[path])
  }
  assert changed == {'conv3', 'bn3', 'kernel', 'bias'}  # the last two: of the last unit
  assert ('backbone', 'conv2', 'kernel') in before


def test_deep_sads_centre_and_unit_are_those_of_the_untrained_majority(
  images, training
):
  features = head.pool_features(images.majority, training)
  centre = features.mean(axis=0)
  unit = ((features - centre) ** 2).sum(axis=1).mean()
  untrained = dataclasses.replace(training, num_epochs=0)
  scorer, _ = head.fit_draws(
    objectives.DEEP_SAD, images.majority, images.minority, (0, 1), untrained
  )
  test = head.pool_features(images.test, training)
  expected = -((test - centre) ** 2).sum(axis=1) / unit
  np.testing.assert_allclose(scorer.scores(images.test), expected, rtol=1e-3)
  assert scorer.scores(images.majority).mean() == pytest.approx(-1, rel=1e-4)


def test_one_majority_image_has_a_unit_too(images, short):
  one = jax.tree.map(lambda a: a[:1], images.majority)
  scorer, _ = head.fit_draws(objectives.DEEP_SAD, one, images.minority, (0, 1), short)
  assert np.isfinite(scorer.scores(images.test)).all()


def test_devnets_reference_is_standard_normal(images, training):
  keys = jnp.stack([jax.random.key(seed) for seed in (0, 1)])
  context = head._prepare(
    objectives.DEVIATION_NETWORK,
    training.head,
    training.create_networks(keys),
    images.majority,
    images.minority,
    keys,
  )
  np.testing.assert_allclose(context['reference_mean'], 0, atol=0.06)
  np.testing.assert_allclose(context['reference_deviation'], 1, atol=0.05)
  assert context['reference_mean'][0] != context['reference_mean'][1]


@pytest.mark.parametrize('seeds, equal', [((3, 3), True), ((3, 4), False)])
def test_the_seed_decides(images, short, seeds, equal):
  first, second = (
    head.fit_draws(
      objectives.FINE_TUNED,
      images.majority,
      jax.tree.map(lambda a: a[:1], images.minority),
      (seed,),
      short,
    )[0].scores(images.test)
    for seed in seeds
  )
  assert np.array_equal(first, second) == equal
