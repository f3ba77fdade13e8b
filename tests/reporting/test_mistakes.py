"""The mistakes shown are those a method is surest of."""

import numpy as np

from egan_jax.reporting import mistakes


def test_mistakes_are_the_farthest_wrong_ones():
  rng = np.random.default_rng(2)
  for limit in (1, 4, 9, 100):
    scores, is_minority = rng.normal(size=60), rng.random(60) < 0.5
    images = np.arange(60, dtype=np.uint8)[:, None, None, None]
    found = mistakes.find(scores, is_minority, 0.2, images, range(60), limit)
    wrong = np.flatnonzero((scores < 0.2) != is_minority)
    assert len(found) == min(limit, len(wrong))
    for truth, of_class in (('minority', is_minority), ('majority', ~is_minority)):
      chosen = [m['name'] for m in found if m['truth'] == truth]
      those = [i for i in wrong if of_class[i]]
      farthest = sorted(those, key=lambda i: -abs(scores[i] - 0.2))
      assert chosen == farthest[: len(chosen)]
      assert len(chosen) >= min(len(those), limit // 2)
    assert all(m['image'].item() == m['name'] for m in found)
    assert all(m['score'] == scores[m['name']] for m in found)


def test_of_an_infinite_threshold_the_extreme_scores_are_the_surest():
  scores = np.array([3.0, -1.0, 2.0, -5.0])
  images = np.zeros((4, 1, 1, 3), np.uint8)
  for threshold, is_minority, expected in [
    (np.inf, np.zeros(4, bool), [3, 1]),
    (-np.inf, np.ones(4, bool), [0, 2]),
  ]:
    found = mistakes.find(scores, is_minority, threshold, images, range(4), limit=2)
    assert [mistake['name'] for mistake in found] == expected
