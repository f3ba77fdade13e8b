"""The discriminator's head: pooling, dropout, one unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.backbones import graph
from egan_jax.models.discriminator import Discriminator
from egan_jax.models.pooling import pool

SIZE = 64


def _make(**attributes):
  """A discriminator without backbone layers, and its variables."""
  discriminator = Discriminator(graph.LayerGraph((), 'features'), **attributes)
  variables = discriminator.init(jax.random.key(0), _features(1))
  return discriminator, variables


def _features(batch):
  values = np.random.default_rng(0).normal(2, 1, (batch, 2, 2, SIZE))
  return {'features': jnp.asarray(values, jnp.float32)}


def test_pooling():
  features = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
  np.testing.assert_allclose(pool(features, 'average'), features.mean((1, 2)))
  # The order of Keras's Flatten: rows, columns, channels.
  np.testing.assert_array_equal(pool(features, 'flatten'), features.reshape(2, 12))
  with pytest.raises(ValueError, match="'max'"):
    pool(features, 'max')


@pytest.mark.parametrize(
  ('pooling', 'inputs'), [('average', SIZE), ('flatten', 4 * SIZE)]
)
def test_score_is_one_unit_on_the_pooled_features(pooling, inputs):
  discriminator, variables = _make(pooling=pooling)
  dense = variables['params']['score']
  assert jax.tree.map(jnp.shape, dense) == {'kernel': (inputs, 1), 'bias': (1,)}
  scores = discriminator.apply(variables, _features(5))
  expected = pool(_features(5)['features'], pooling) @ dense['kernel'] + dense['bias']
  assert scores.shape == (5,)
  np.testing.assert_allclose(scores, expected[:, 0], rtol=1e-5, atol=1e-5)


def test_dropout_is_only_for_training():
  discriminator, variables = _make(dropout_rate=0.2)
  features = _features(7)
  scores = discriminator.apply(variables, features)
  np.testing.assert_array_equal(scores, discriminator.apply(variables, features))

  def train(seed):
    rngs = {'dropout': jax.random.key(seed)}
    return discriminator.apply(variables, features, train=True, rngs=rngs)

  np.testing.assert_array_equal(train(0), train(0))
  assert (train(0) != train(1)).all()
  assert (train(0) != scores).all()
  # What stays is scaled up, so that the mean score is that without dropout.
  many = jax.vmap(
    lambda key: discriminator.apply(
      variables, features, train=True, rngs={'dropout': key}
    )
  )(jax.random.split(jax.random.key(0), 20_000))
  np.testing.assert_allclose(many.mean(0), scores, atol=5 * (many.std() / 141))


def test_dropout_rate_of_zero():
  discriminator, variables = _make(dropout_rate=0.0)
  scores = discriminator.apply(variables, _features(3), train=True)
  np.testing.assert_array_equal(scores, discriminator.apply(variables, _features(3)))


@pytest.mark.parametrize('train', [False, True])
def test_sigmoid_head_is_never_negative(train):
  discriminator, variables = _make(head_activation='sigmoid')
  rngs = {'dropout': jax.random.key(0)}
  for scale in (-1e3, -1.0, 0.0, 1e3):
    features = {'features': scale * _features(50)['features']}
    scores = discriminator.apply(variables, features, train=train, rngs=rngs)
    assert ((scores >= 0) & (scores <= 1)).all()
  linear, _ = _make()
  features = _features(50)
  np.testing.assert_allclose(
    discriminator.apply(variables, features),
    jax.nn.sigmoid(linear.apply(variables, features)),
    rtol=1e-6,
  )
