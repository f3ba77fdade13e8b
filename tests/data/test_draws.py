"""Which images a run uses: disjoint, seeded, and told when impossible."""

import functools

import numpy as np
import pytest

from egan_jax.data.draws import draw, repeat_with_seeds
from egan_jax.errors import UserError


def _sizes(seed):
  """Random sizes that fit: folds, minority, majority, and what there is of each."""
  rng = np.random.default_rng(seed)
  folds, minority, majority = (int(n) for n in rng.integers(1, (9, 30, 300)))
  spare = rng.integers(0, 3, size=2) * rng.integers(0, 50, size=2)
  return folds, minority, majority, folds * minority + spare[0], majority + spare[1]


@pytest.mark.parametrize('seed', range(50))
def test_draws_of_random_sizes(seed):
  folds, minority, majority, minority_available, majority_available = _sizes(seed)
  draws = draw(seed, folds, minority, majority, minority_available, majority_available)
  assert draws.minority.shape == (folds, minority)
  assert draws.majority.shape == (majority,)
  for drawn, available in (
    (draws.minority.ravel(), minority_available),
    (draws.majority, majority_available),
  ):
    assert np.issubdtype(drawn.dtype, np.integer)
    assert len(set(drawn.tolist())) == len(drawn)
    assert 0 <= drawn.min() <= drawn.max() < available


def test_a_seed_draws_the_same_again_and_another_seed_does_not():
  first, again, other = (draw(seed, 5, 10, 500, 5000, 5000) for seed in (3, 3, 4))
  np.testing.assert_array_equal(first.minority, again.minority)
  np.testing.assert_array_equal(first.majority, again.majority)
  assert set(first.minority.ravel()) != set(other.minority.ravel())
  assert set(first.majority) != set(other.majority)


def test_draws_are_no_prefix_of_the_class():
  draws = draw(0, 5, 100, 1000, 5000, 5000)
  assert draws.minority.max() > 4000
  assert draws.majority.max() > 4000


@pytest.mark.parametrize('seed', range(5))
def test_majority_does_not_depend_on_the_minority(seed):
  expected = draw(seed, 5, 10, 50, 500, 100).majority
  for folds, minority, available in ((5, 100, 500), (1, 10, 500), (5, 10, 5000)):
    draws = draw(seed, folds, minority, 50, available, 100)
    np.testing.assert_array_equal(draws.majority, expected)


@pytest.mark.parametrize('seed', range(5))
def test_minority_does_not_depend_on_the_majority(seed):
  expected = draw(seed, 5, 10, 50, 500, 100).minority
  draws = draw(seed, 5, 10, 70, 500, 1000)
  np.testing.assert_array_equal(draws.minority, expected)


def test_a_fold_does_not_depend_on_how_many_there_are():
  two, five = draw(0, 2, 10, 50, 500, 100), draw(0, 5, 10, 50, 500, 100)
  np.testing.assert_array_equal(two.minority, five.minority[:2])


def test_everything_there_is_can_be_drawn():
  draws = draw(0, 3, 4, 7, 12, 7)
  assert sorted(draws.minority.ravel()) == list(range(12))
  assert sorted(draws.majority) == list(range(7))


@pytest.mark.parametrize(
  ('sizes', 'numbers'),
  [
    ({'num_minority': 13}, ('num_minority=13', '12')),
    ({'num_folds': 4, 'num_minority': 4}, ('4 folds of 4', 'overlap', '12')),
    ({'num_majority': 8}, ('num_majority=8', '7')),
  ],
)
def test_impossible_sizes(sizes, numbers):
  possible = {'num_folds': 3, 'num_minority': 4, 'num_majority': 7}
  with pytest.raises(UserError) as caught:
    draw(0, **{**possible, **sizes}, minority_available=12, majority_available=7)
  for number in numbers:
    assert number in str(caught.value)
  assert '\n' not in str(caught.value)


def test_seeds_repeat_what_each_draws_alone():
  draw_one = functools.partial(
    draw,
    num_folds=2,
    num_minority=3,
    num_majority=5,
    minority_available=10,
    majority_available=9,
  )
  several = repeat_with_seeds(draw_one, 7, 3)
  assert several.minority.shape == (6, 3)
  for i in range(3):
    alone = draw_one(7 + i)
    np.testing.assert_array_equal(several.minority[2 * i : 2 * i + 2], alone.minority)
  np.testing.assert_array_equal(several.majority, draw_one(7).majority)
