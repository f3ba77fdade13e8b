"""Which images a step sees: indices into the majority's and minority's activations.

Indices from 0 to M - 1 are majority images and from M to M + n - 1 minority ones.
"""

import jax
import jax.numpy as jnp

from egan_jax.steps import Boundary, count_images, cut_into_batches

# Indices int [S, B] of S steps, and bool [S, B], False where they are padding.
Batches = tuple[jax.Array, jax.Array]


def shuffle(
  key: jax.Array, num_majority: int, num_minority: int, batch_size: int
) -> Batches:
  """Every image once."""
  return cut_into_batches(
    jax.random.permutation(key, num_majority + num_minority), batch_size
  )


def balance(
  key: jax.Array, num_majority: int, num_minority: int, batch_size: int
) -> Batches:
  """Every majority image once, beside each a minority image drawn at random."""
  order_key, minority_key = jax.random.split(key)
  order = jax.random.permutation(order_key, num_majority)
  indices, mask = cut_into_batches(order, max(batch_size // 2, 1))
  drawn = jax.random.randint(minority_key, indices.shape, 0, num_minority)
  return (
    jnp.concatenate([indices, num_majority + drawn], axis=1),
    jnp.concatenate([mask, mask], axis=1),
  )


def take(majority: Boundary, minority: Boundary, indices: jax.Array) -> Boundary:
  """The activations `[B, ...]` of images by their indices `[B]`."""
  num_majority, num_minority = count_images(majority), count_images(minority)

  def choose(of_majority, of_minority):
    is_minority = indices >= num_majority
    return jnp.where(
      is_minority.reshape(-1, *[1] * (of_majority.ndim - 1)),
      of_minority[jnp.clip(indices - num_majority, 0, num_minority - 1)],
      of_majority[jnp.clip(indices, 0, num_majority - 1)],
    )

  return jax.tree.map(choose, majority, minority)
