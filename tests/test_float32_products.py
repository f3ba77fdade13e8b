"""What decisions rest on multiplies float32 in float32, on accelerators too."""

import jax
import numpy as np
import pytest

from egan_jax import explain, feature_extractor, predictor, scorers
from egan_jax import state as egan_state
from egan_jax.data import activation_cache

IMAGES = np.zeros((2, 16, 16, 3), np.uint8)


@pytest.fixture(scope='module')
def programs(tiny_registered, tiny_player):
  """Functions with arguments for them; most of a network that is frozen to its end."""
  features = feature_extractor.make((tiny_registered,), 'none', 16, 'scale')
  (whole,), trunk = features.trunks, tiny_player.trunk
  game = egan_state.create_game_state(jax.random.key(0), tiny_player, tiny_player, 1e-4)
  scorer = scorers.from_discriminator(game.discriminator, tiny_player)
  boundary = trunk(IMAGES.astype(np.float32))
  return {
    'activations': (activation_cache._run_trunk, whole, IMAGES),
    'features': (feature_extractor._run_batch, features, IMAGES),
    'score': (scorers._score, scorer, boundary),
    'predicted score': (predictor._score, trunk, scorer, IMAGES),
    'predicted features': (predictor._pool, trunk, scorer, IMAGES),
    'explanation': (explain._examine, trunk, scorer, IMAGES[0]),
  }


@pytest.mark.parametrize(
  'name',
  [
    'activations',
    'features',
    'score',
    'predicted score',
    'predicted features',
    'explanation',
  ],
)
def test_no_product_is_of_fewer_bits(programs, name):
  function, *arguments = programs[name]
  program = function.lower(*arguments).as_text()
  assert 'HIGHEST' in program
  products = [line for line in program.splitlines() if 'dot_general' in line]
  products += [line for line in program.splitlines() if 'convolution(' in line]
  assert products
  assert all('HIGHEST' in line for line in products)
