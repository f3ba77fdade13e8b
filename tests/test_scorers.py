"""Scorers as data: against scikit-learn, through every transformation, rebuilt."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from egan_jax import rivals, scorers, state, steps
from egan_jax.scorers import Scorer

NUM_FEATURES = 40
OF_FEATURES = {
  'constant': 'always_minority',
  'linear': 'logistic_balanced',
  'knn': 'one_class_knn',
  'class_mean_and_knn': 'class_mean_and_knn',
  'mahalanobis': 'mahalanobis',
}


@pytest.fixture(scope='module')
def features():
  """Majority [120, C], minority [4, C], test [70, C]: far from 0, correlated."""
  rng = np.random.default_rng(0)
  spread = rng.normal(size=(NUM_FEATURES, NUM_FEATURES)) / 6
  draw = lambda n: rng.normal(size=(n, NUM_FEATURES)) @ spread + 100  # noqa: E731
  return draw(120), draw(4) + 0.8, draw(70) + rng.choice([0, 0.8], size=(70, 1))


@pytest.fixture(scope='module')
def boundary(tiny_player):
  images = np.random.default_rng(1).random((21, 16, 16, 3)).astype(np.float32)
  return jax.jit(lambda images: tiny_player.trunk(images))(images)


def _discriminator(tiny_player, activation):
  create = functools.partial(
    state.create_game_state,
    generator=tiny_player,
    discriminator=tiny_player,
    learning_rate=1e-4,
    head_activation=activation,
  )
  return jax.jit(create)(jax.random.key(3)).discriminator


@pytest.fixture(params=[*OF_FEATURES, 'head_logit', 'head_distance'])
def scorer_and_inputs(request, features, tiny_player, boundary):
  if request.param in OF_FEATURES:
    majority, minority, test = features
    scorer = rivals.get(OF_FEATURES[request.param]).fit(majority, minority)
    return scorer, test.astype(np.float32)
  scorer = scorers.from_discriminator(
    _discriminator(tiny_player, 'linear'), tiny_player
  )
  if request.param == 'head_distance':
    arrays = scorer.arrays | {'centre': jnp.ones(12), 'unit': jnp.array(2.0)}
    scorer = Scorer(arrays, 'head_distance', scorer.head)
  return scorer, boundary


def test_through_every_transformation(scorer_and_inputs):
  scorer, inputs = scorer_and_inputs
  expected = np.asarray(scorer(inputs))
  assert expected.dtype == np.float32
  close = functools.partial(
    np.testing.assert_allclose, desired=expected, rtol=1e-4, atol=1e-4
  )
  close(scorer.scores(inputs))
  close(jax.jit(lambda scorer, inputs: scorer(inputs))(scorer, inputs))
  one_by_one = jax.tree.map(lambda a: a[:, None], inputs)
  close(jax.jit(jax.vmap(scorer))(one_by_one)[:, 0])
  gradient = jax.jit(jax.grad(lambda inputs: scorer(inputs).sum()))(inputs)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_exported_it_scores_without_this_package(scorer_and_inputs):
  scorer, inputs = scorer_and_inputs
  shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), inputs)
  exported = export.export(jax.jit(lambda inputs: scorer(inputs)))(shapes)
  loaded = export.deserialize(exported.serialize())
  np.testing.assert_allclose(loaded.call(inputs), scorer(inputs), rtol=1e-4, atol=1e-4)


def test_rebuilt_from_its_parts(scorer_and_inputs):
  scorer, inputs = scorer_and_inputs
  arrays = jax.tree.map(np.array, scorer.arrays)
  assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(arrays))
  again = Scorer(arrays, scorer.kind, scorer.head)
  assert again.reads == scorer.reads
  np.testing.assert_array_equal(again.scores(inputs), scorer.scores(inputs))
  twice = jax.tree.map(lambda a: a * 1, scorer)
  assert (twice.kind, twice.head, twice.note) == (
    scorer.kind,
    scorer.head,
    scorer.note,
  )


@pytest.mark.parametrize('number', [0, 1, 3, 512, 513, 1100])
def test_any_number_of_images(features, number):
  majority, minority, _ = features
  scorer = rivals.get('nearest_class_mean').fit(majority, minority)
  images = np.random.default_rng(number).normal(size=(number, NUM_FEATURES)) + 100
  got = scorer.scores(images)
  assert got.shape == (number,) and got.dtype == np.float32
  line = jax.tree.map(np.float64, scorer.arrays)
  expected = (images - line['centre']) @ line['weights'] + line['offset']
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('dtype', [np.float64, np.float16, jnp.bfloat16, np.uint8])
def test_features_of_another_type_become_float32(features, dtype):
  majority, minority, test = features
  scorer = rivals.get('mahalanobis').fit(majority, minority)
  same = np.asarray(test, dtype)
  expected = scorer.scores(same.astype(np.float32))
  np.testing.assert_array_equal(scorer.scores(same), expected)


class TestParityFarFromTheOrigin:
  """Features around 100 with a spread of 1: what squares in float32 would lose."""

  def test_mahalanobis(self, features):
    majority, minority, test = features
    scorer = rivals.get('mahalanobis').fit(majority, minority)
    expected = -LedoitWolf().fit(majority).mahalanobis(test)
    np.testing.assert_allclose(scorer.scores(test), expected, rtol=1e-4)

  def test_knn(self, features):
    majority, minority, test = features
    scorer = rivals.get('one_class_knn').fit(majority, minority)
    neighbours = NearestNeighbors(n_neighbors=2).fit(majority)
    expected = -neighbours.kneighbors(test)[0].mean(axis=1)
    np.testing.assert_allclose(scorer.scores(test), expected, rtol=1e-4)

  def test_logistic_regression(self, features):
    majority, minority, test = features
    scorer = rivals.get('logistic_balanced').fit(majority, minority)
    regression = LogisticRegression(
      C=1 / NUM_FEATURES, class_weight='balanced', max_iter=1000
    )
    scaler = StandardScaler().fit(majority)
    together = scaler.transform(np.concatenate([majority, minority]))
    regression.fit(together, np.arange(124) < 120)
    expected = regression.decision_function(scaler.transform(test))
    np.testing.assert_allclose(scorer.scores(test), expected, atol=2e-3)

  def test_class_mean(self, features):
    majority, minority, test = features
    scorer = rivals.get('nearest_class_mean').fit(majority, minority)
    means = np.stack([majority.mean(axis=0), minority.mean(axis=0)])
    squares = cdist(test, means) ** 2
    expected = squares[:, 1] - squares[:, 0]
    np.testing.assert_allclose(scorer.scores(test), expected, rtol=1e-3, atol=2e-3)


def test_an_image_of_the_index_is_its_own_neighbour(features):
  majority, minority, _ = features
  index = majority[:1].repeat(2, axis=0).astype(np.float32)
  scorer = rivals.get('one_class_knn').fit(index, minority)
  np.testing.assert_allclose(scorer.scores(index), 0, atol=1e-9)
  gradient = jax.jit(jax.grad(lambda x: scorer(x).sum()))(jnp.asarray(index))
  assert (gradient == 0).all()


def test_a_note_goes_with_it(features):
  majority, minority, _ = features
  scorer = rivals.get('smote_logistic').fit(majority, minority[:1])
  assert jax.jit(lambda scorer: scorer)(scorer).note == scorer.note != ''


@pytest.mark.parametrize(
  'activation, kind', [('linear', 'head_logit'), ('sigmoid', 'head_sigmoid')]
)
def test_a_discriminator_scores_as_it_did(tiny_player, boundary, activation, kind):
  network = _discriminator(tiny_player, activation)
  scorer = scorers.from_discriminator(network, tiny_player, activation)
  assert (scorer.kind, scorer.reads) == (kind, rivals.BOUNDARY)
  expected = steps.score(network, boundary, batch_size=8)
  assert np.std(expected) > 0
  np.testing.assert_allclose(scorer.scores(boundary), expected, rtol=1e-5, atol=1e-6)
  assert sum(leaf.size for leaf in jax.tree.leaves(scorer)) < sum(
    leaf.size for leaf in jax.tree.leaves(network)
  )  # the optimiser stays behind


def test_only_a_method_with_a_model_says_how_minority_scores_are_spread():
  line = {'centre': np.zeros(2), 'weights': np.ones(2), 'offset': 0.0}
  assert scorers.make(line, 'linear').minority_score_distribution is None
  modelled = scorers.make(
    line | {'minority_score_distribution': np.array([-2.0, 0.5])}, 'linear'
  )
  assert modelled.minority_score_distribution == (-2.0, 0.5)
