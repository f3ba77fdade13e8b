import jax.numpy as jnp
import numpy as np

from egan_jax import losses

SCORES = jnp.array([-3.0, -0.5, 0.0, 2.0])
PROBABILITY = 1 / (1 + np.exp(-np.asarray(SCORES)))


def test_terms_are_those_of_equation_1():
  np.testing.assert_allclose(
    losses.majority_loss(SCORES), -np.log(PROBABILITY), rtol=1e-6
  )
  np.testing.assert_allclose(
    losses.generated_loss(SCORES), -np.log(1 - PROBABILITY), rtol=1e-6
  )
  np.testing.assert_allclose(
    losses.generator_loss(SCORES), -np.log(PROBABILITY), rtol=1e-6
  )


def test_large_scores_stay_finite():
  scores = jnp.array([-1e4, 1e4])
  for term in (losses.majority_loss, losses.generated_loss, losses.generator_loss):
    assert np.isfinite(term(scores)).all()
