"""Every image once, or beside each a minority one; padding is masked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.rivals import batches


@pytest.mark.parametrize('batch_size', [1, 4, 7, 13, 100])
def test_shuffle_shows_every_image_once(batch_size):
  indices, mask = batches.shuffle(jax.random.key(0), 11, 2, batch_size)
  assert (
    indices.shape == mask.shape == (-(-13 // min(batch_size, 13)), min(batch_size, 13))
  )
  assert sorted(indices[mask].tolist()) == list(range(13))
  other, _ = batches.shuffle(jax.random.key(1), 11, 2, batch_size)
  assert indices.tolist() != other.tolist()


@pytest.mark.parametrize('batch_size', [2, 8, 100])
def test_balance_puts_a_minority_image_beside_each_majority_image(batch_size):
  indices, mask = batches.balance(jax.random.key(0), 11, 3, batch_size)
  shown = np.asarray(indices)[np.asarray(mask)]
  assert sorted(shown[shown < 11].tolist()) == list(range(11))
  assert len(shown) == 22
  assert set(shown[shown >= 11].tolist()) == {11, 12, 13}
  for row, valid in zip(indices, mask, strict=True):
    assert (row[valid] >= 11).sum() == (row[valid] < 11).sum()


def test_take():
  majority = {'a': jnp.arange(4.0)[:, None, None, None], 'b': jnp.arange(4.0)[:, None]}
  minority = jax.tree.map(lambda a: a[:2] + 100, majority)
  taken = batches.take(majority, minority, jnp.array([0, 3, 4, 5, 1]))
  assert taken['a'][:, 0, 0, 0].tolist() == taken['b'][:, 0].tolist()
  assert taken['b'][:, 0].tolist() == [0, 3, 100, 101, 1]
