"""The terms of the minimax game, equation (1) of the paper.

The discriminator maximises log D(majority) + log(1 - D(G(minority))); written as
binary cross-entropies of its scores (logits), both of which it minimises. The
generator's term is the non-saturating one of the authors: it minimises
-log D(G(minority)) instead of maximising log(1 - D(G(minority))).

Scores are `[B]` float32; each function returns one value per example, `[B]`.
"""

import jax
import jax.numpy as jnp
import optax


def majority_loss(scores: jax.Array) -> jax.Array:
  """-log D(x) for real majority images: their target is 1."""
  return optax.sigmoid_binary_cross_entropy(scores, jnp.ones_like(scores))


def generated_loss(scores: jax.Array) -> jax.Array:
  """-log(1 - D(G(x))) for generated images: their target is 0."""
  return optax.sigmoid_binary_cross_entropy(scores, jnp.zeros_like(scores))


def generator_loss(scores: jax.Array) -> jax.Array:
  """-log D(G(x)): the generator wants its images taken for majority."""
  return optax.sigmoid_binary_cross_entropy(scores, jnp.ones_like(scores))
