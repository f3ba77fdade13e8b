"""What decisions rest on multiplies float32 in float32, on accelerators too."""

import functools

import jax
import numpy as np
import pytest

from egan_jax import explain, feature_extractor, logistic_regression, predictor, scorers
from egan_jax import state as egan_state
from egan_jax.data import activation_cache
from egan_jax.models.pooled_head import PooledHead
from egan_jax.rivals import fusion, head, plda

IMAGES = np.zeros((2, 16, 16, 3), np.uint8)


@pytest.fixture(scope='module')
def programs(tiny_registered, tiny_player):
  """Functions with arguments for them; most of a network that is frozen to its end."""
  features = feature_extractor.make((tiny_registered,), 'none', 16, 'scale')
  (whole,), trunk = features.trunks, tiny_player.trunk
  game = jax.jit(
    lambda key: egan_state.create_game_state(key, tiny_player, tiny_player, 1e-4)
  )(jax.random.key(0))
  scorer = scorers.from_discriminator(game.discriminator, tiny_player)
  boundary = trunk(IMAGES.astype(np.float32))
  pooled = PooledHead(tiny_player.head, tiny_player.backbone.pooling)
  pool_head = functools.partial(head._pool, pooled)
  rows, masks = np.random.default_rng(0).random((6, 3), np.float32), np.ones(6, bool)
  two_covariances = plda.rival('plda').fit(rows, rows[:2]).arrays
  return {
    'activations': (activation_cache._run_trunk, whole, IMAGES),
    'features': (feature_extractor._run_batch, features, IMAGES),
    'features of a head': (pool_head, game.discriminator, boundary),
    'score': (scorers._score, scorer, boundary),
    'log-likelihood ratio': (scorers._score_plda, two_covariances, rows),
    'neighbors': (fusion._score_neighbors, rows, rows),
    'regression': (
      logistic_regression._fit_all,
      *(rows, masks[None], rows[None], masks, 1.0, True),
    ),
    'predicted score': (predictor._score, trunk, scorer, IMAGES),
    'predicted features': (predictor._pool, trunk, scorer, IMAGES),
    'explanation': (explain._examine, trunk, scorer, IMAGES[0]),
  }


def test_no_product_is_of_fewer_bits(programs):
  for name, (function, *arguments) in programs.items():
    program = jax.jit(function).lower(*arguments).as_text()
    assert 'HIGHEST' in program, name
    lines = program.splitlines()
    products = [line for line in lines if 'dot_general' in line]
    products += [line for line in lines if 'convolution(' in line]
    assert products, name
    assert all('HIGHEST' in line for line in products), name
