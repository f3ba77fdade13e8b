"""Losses of the rivals that train the head: one value per image.

Scores `[B]` float are logits, positive for the majority, as the discriminator's;
`is_minority` is bool `[B]`.
"""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(scores: jax.Array, is_minority: jax.Array) -> jax.Array:
  """Binary cross-entropy: every image counts the same."""
  return optax.sigmoid_binary_cross_entropy(scores, 1.0 - is_minority)


def class_weighted(
  scores: jax.Array, is_minority: jax.Array, minority_share: jax.Array | float
) -> jax.Array:
  """Cross-entropy in which each class counts half (King & Zeng 2001).

  Args:
    scores: see above.
    is_minority: see above.
    minority_share: of the training images.
  """
  weights = jnp.where(is_minority, 0.5 / minority_share, 0.5 / (1 - minority_share))
  return weights * cross_entropy(scores, is_minority)


def focal(scores: jax.Array, is_minority: jax.Array, gamma: float = 2.0) -> jax.Array:
  """Cross-entropy of an image that is given P times (1 - P) ** gamma.

  Lin et al., "Focal loss for dense object detection", 2017, with their gamma and
  without their class weights, which are `class_weighted`'s business.
  """
  return optax.sigmoid_focal_loss(scores, 1.0 - is_minority, alpha=None, gamma=gamma)


def deviation(
  scores: jax.Array,
  is_minority: jax.Array,
  reference_mean: jax.Array | float,
  reference_deviation: jax.Array | float,
  margin: float = 5.0,
) -> jax.Array:
  """DevNet's: majority near a reference, minority `margin` deviations from it.

  Pang, Shen & van den Hengel, "Deep anomaly detection with deviation networks",
  2019, equations 6 and 7. Their anomaly score is -score.

  Args:
    scores: see above.
    is_minority: see above.
    reference_mean: of 5,000 standard normal numbers.
    reference_deviation: of the same numbers.
    margin: their confidence margin a.
  """
  deviations = (-scores - reference_mean) / reference_deviation
  return jnp.where(
    is_minority, jnp.maximum(0.0, margin - deviations), jnp.abs(deviations)
  )


def deep_sad(
  scores: jax.Array, is_minority: jax.Array, eta: float = 1.0, epsilon: float = 1e-6
) -> jax.Array:
  """Deep SAD's: squared distance to a centre, or its inverse for the minority.

  Ruff et al., "Deep semi-supervised anomaly detection", 2020, equation 7, with
  their eta and epsilon; weight decay is left out.

  Args:
    scores: squared distances to the centre, negated.
    is_minority: see above.
    eta: weight of labelled anomalies.
    epsilon: keeps the inverse finite.
  """
  distances = -scores
  return jnp.where(is_minority, eta / (distances + epsilon), distances)
