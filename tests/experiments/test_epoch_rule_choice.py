"""Rules that choose an epoch: what they read, what they choose, what they refuse."""

import numpy as np
import pytest

from experiments.epoch_rules import rules

FIELDS = {
  'best_fed': 'fed_auroc',
  'most_stable': 'rank_correlation',
  'best_left_out': 'left_out_auroc',
  'nearest_false_positive_rate': 'false_positive_rate',
}


def make_records(values, field):
  others = dict.fromkeys(FIELDS.values(), 0.5)
  return [
    {'epoch': epoch, 'steps': 3 * epoch, **others, field: value}
    for epoch, value in enumerate(values, start=1)
  ]


def make_scores(seed, num_epochs=6):
  rng = np.random.default_rng(seed)
  held_out, fed_majority = rng.normal(size=(2, num_epochs, 30))
  left_out, fed_minority = rng.normal(size=(2, num_epochs, 3)) - 1
  return held_out, left_out, fed_minority, fed_majority


def describe(held_out, left_out, fed_minority, fed_majority):
  return [
    rules.describe_epoch(
      epoch + 1,
      7 * (epoch + 1),
      held_out[epoch],
      held_out[epoch - 1] if epoch else None,
      left_out[epoch],
      (fed_minority[epoch], fed_majority[epoch]),
    )
    for epoch in range(len(held_out))
  ]


@pytest.mark.parametrize(
  ('rule', 'values', 'expected'),
  [
    ('most_stable', [None, 0.2, 0.9, 0.4], 3),
    ('best_fed', [0.4, 0.9, 0.9, 0.8], 3),
    ('best_left_out', [0.4, 0.9, 0.9, 0.8], 3),  # the later of equals
    ('nearest_false_positive_rate', [0.5, 0.01, 0.09, 0.0], 3),
    ('nearest_false_positive_rate', [0.06, 0.5, 0.051], 3),
    ('nearest_false_positive_rate', [0.0, 0.0, 0.0], 3),
  ],
)
def test_rules_on_hand_made_records(rule, values, expected):
  records = make_records(values, FIELDS[rule])
  assert rules.RULES[rule](records) == expected
  assert rules.RULES[rule](records[::-1]) == expected


def test_last_is_the_last():
  records = make_records([0.1, 0.2, 0.3], 'left_out_auroc')
  assert rules.last(records[::-1]) == 3


@pytest.mark.parametrize(
  ('steps', 'expected'), [(1, 1), (3, 1), (4, 2), (9, 3), (10, 3), (99, 3)]
)
def test_after_steps_is_the_first_epoch_that_ends_after_them(steps, expected):
  """Three epochs of three steps each."""
  records = make_records([0.1, 0.2, 0.3], 'left_out_auroc')
  assert rules.after_steps(records[::-1], steps) == expected


@pytest.mark.parametrize('rule', FIELDS)
def test_a_rule_reads_its_own_field_and_no_other(rule):
  rng = np.random.default_rng(0)
  records = make_records(rng.random(8), FIELDS[rule])
  chosen = rules.RULES[rule](records)
  for record in records:
    for field in set(FIELDS.values()) - {FIELDS[rule]}:
      record[field] = rng.random()
    record['f1'] = rng.random()
  assert rules.RULES[rule](records) == chosen


@pytest.mark.parametrize('seed', range(5))
def test_records_against_what_they_are_by_definition(seed):
  held_out, left_out, fed_minority, fed_majority = scores = make_scores(seed)
  first, *others = describe(*scores)
  assert first['rank_correlation'] is None
  for epoch, record in enumerate(others, start=1):
    ranks = [np.argsort(np.argsort(held_out[e])) for e in (epoch - 1, epoch)]
    assert record['rank_correlation'] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    below = left_out[epoch][:, None] < held_out[epoch]
    assert record['left_out_auroc'] == pytest.approx(below.mean())
    below = fed_minority[epoch][:, None] < fed_majority[epoch]
    assert record['fed_auroc'] == pytest.approx(below.mean())
    assert record['false_positive_rate'] == (held_out[epoch] < 0).mean()


def _describe(held_out, previous):
  one = np.float32([0])
  return rules.describe_epoch(2, 6, held_out, previous, one, (one, one + 1))


def test_a_rising_map_of_the_scores_is_perfectly_stable_and_a_falling_one_is_not():
  scores = np.random.default_rng(1).normal(size=20)
  rising, falling = (
    _describe(other, scores)['rank_correlation'] for other in (np.exp(scores), -scores)
  )
  assert rising == pytest.approx(1)
  assert falling == pytest.approx(-1)


def test_scores_that_are_all_alike_are_not_stable():
  record = _describe(np.zeros(5), np.arange(5.0))
  assert record['rank_correlation'] == 0


def test_records_are_plain_numbers():
  record = _describe(np.float32([1, -1]), None)
  assert record == {
    'epoch': 2,
    'steps': 6,
    'false_positive_rate': 0.5,
    'rank_correlation': None,
    'left_out_auroc': 0.5,
    'fed_auroc': 1.0,
  }
