"""How the forecast of minority scores is judged, on made-up classes."""

import numpy as np
import pytest

from egan_jax import scorers
from experiments.few_images import forecast


def _features(count, seed, offset=0.0):
  rng = np.random.default_rng(seed)
  return (rng.gamma(2, size=(count, 6)) + offset * np.arange(6)).astype(np.float32)


def test_pairs_of_the_tables_are_left_out():
  classes = dict.fromkeys([('cifar10', c) for c in range(4)] + [('cifar100', 0)])
  pairs = {(a, b) for _, a, b in forecast.list_pairs(classes)}
  assert len(pairs) == 5 * 4 - 4
  for a, b in ((0, 1), (1, 0), (2, 3), (3, 2)):
    assert (('cifar10', a), ('cifar10', b)) not in pairs


def test_a_right_forecast_finds_the_best_cut():
  rng = np.random.default_rng(0)
  of_minority, of_majority = rng.normal(-4, 1, 2000), rng.normal(size=2000)
  line = {'centre': np.zeros(1), 'weights': np.ones(1), 'offset': np.zeros(())}
  distribution = {'minority_score_distribution': np.array([-4.0, 1.0])}
  scorer = scorers.make(line | distribution, 'linear')
  judged = forecast.judge(scorer, of_minority, of_majority)
  assert judged['f1_of_forecast'] == pytest.approx(judged['best_f1'], abs=0.003)
  assert judged['f1_of_forecast'] > judged['f1_at_5_percent']
  assert judged['forecast'] == pytest.approx(-4, abs=0.1)


def test_every_number_of_images_is_judged():
  rows = list(
    forecast.judge_pair(
      _features(60, 0), _features(40, 1, 0.5), np.eye(6)[:, :3], num_draws=2
    )
  )
  assert [n for n, _ in rows] == [1, 1, 2, 2, 3, 3, 4, 4]
  summary = forecast.summarise([row for _, row in rows])
  assert summary['draws'] == 8 and 0 <= summary['f1_of_forecast'] <= 1
