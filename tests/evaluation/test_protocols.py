"""The two protocols and Nash equilibrium on hand-made and random records."""

import json

import numpy as np
import pytest

from egan_jax.evaluation.metrics import METRICS
from egan_jax.evaluation.nash import find_nash_epochs, is_at_nash
from egan_jax.evaluation.protocols import (
  find_decision_epochs,
  find_last_epochs,
  honest_protocol,
  paper_protocol,
  read_epochs,
  stack_curves,
)


def make_records(curves, decision_epoch=None):
  """Records in which every metric of fold f follows `curves[f]`.

  The games rank the images they are fed with best at the decision epoch, by default
  the last: the nearer to it, the better.
  """
  return [
    {
      'fold': fold,
      'epoch': epoch,
      **dict.fromkeys(METRICS, value),
      'fed_auroc': 1 - abs(epoch - (decision_epoch or len(curve))) / 100,
    }
    for fold, curve in enumerate(curves)
    for epoch, value in enumerate(curve, start=1)
  ]


def make_counts(*folds):
  """Records with (minority_correct, majority_correct) per fold and epoch."""
  return [
    {
      'fold': fold,
      'epoch': epoch,
      'minority_correct': minority,
      'majority_correct': majority,
    }
    for fold, counts in enumerate(folds)
    for epoch, (minority, majority) in enumerate(counts, start=1)
  ]


def test_paper_protocol_takes_the_maximum_of_the_mean_curve():
  # The best fold values, 1.0 and 0.8, are at epochs where the mean is lower.
  result = paper_protocol(make_records([[1.0, 0.7, 0.2], [0.0, 0.7, 0.8]]))
  assert result['metrics']['f1'] == pytest.approx(
    {'epoch': 2, 'mean': 0.7, 'std': 0.0, 'min': 0.7, 'max': 0.7}
  )
  assert result['label'] == 'oracle: epoch chosen on test labels'


def test_paper_protocol_takes_the_first_of_equal_epochs_and_each_metric_its_own():
  records = make_records([[0.5, 0.9, 0.9]])
  for record in records:
    record['recall'] = 1 / record['epoch']
  metrics = paper_protocol(records)['metrics']
  assert metrics['f1']['epoch'] == 2
  assert metrics['recall']['epoch'] == 1


@pytest.mark.parametrize(
  ('decision_epoch', 'epochs', 'values'),
  [(1, [1, 1], [0.9, 0.8]), (3, [2, 3], [0.2, 0.6]), (9, [2, 3], [0.2, 0.6])],
)
def test_honest_protocol_reads_one_epoch_of_each_fold(decision_epoch, epochs, values):
  records = make_records([[0.9, 0.2], [0.8, 0.9, 0.6]], decision_epoch)
  result = honest_protocol(records)
  assert result['metrics']['f1'] == pytest.approx(
    {
      'mean': np.mean(values),
      'std': np.std(values, ddof=1),
      'min': min(values),
      'max': max(values),
    }
  )
  assert result['epochs'] == epochs
  assert result['num_folds'] == 2
  assert result['label'].startswith('honest: epoch chosen on training images')


def test_a_run_that_stops_on_test_labels_is_not_called_honest():
  records = make_records([[0.5, 0.6], [0.7]], decision_epoch=1)
  result = honest_protocol(records, stopped_at_nash=True)
  assert result['epochs'] == [2, 1]
  assert result['selected_on_test_labels'] is True
  assert result['label'].startswith('oracle: ')
  assert 'honest' not in result['label']


def test_one_fold_has_no_spread():
  records = make_records([[0.5, 0.6]])
  for result in (paper_protocol(records), honest_protocol(records)):
    assert result['metrics']['f1']['std'] is None


@pytest.mark.parametrize('seed', range(10))
def test_oracle_is_never_below_honest(seed):
  rng = np.random.default_rng(seed)
  curves = [rng.random(rng.integers(1, 20)) for _ in range(rng.integers(1, 6))]
  epoch = int(rng.integers(1, 25))
  records = make_records(curves, epoch)
  rng.shuffle(records)  # the order of the lines means nothing
  oracle, honest = paper_protocol(records), honest_protocol(records)
  for name in METRICS:
    assert oracle['metrics'][name]['mean'] >= honest['metrics'][name]['mean']
  assert honest['metrics']['f1']['mean'] == pytest.approx(
    np.mean([curve[:epoch][-1] for curve in curves])
  )
  json.dumps([oracle, honest], allow_nan=False)


def test_every_fold_decides_at_its_own_epoch():
  records = make_records([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
  for record, fed_auroc in zip(records, [0.9, 0.8, 0.9, 0.7, 0.8, 0.7], strict=True):
    record['fed_auroc'] = fed_auroc
  epochs = find_decision_epochs(records)
  assert epochs.tolist() == [3, 2]  # of equals the later
  assert read_epochs(records, 'f1', epochs).tolist() == [0.3, 0.5]


def test_stopped_folds_keep_their_last_value():
  records = make_records([[0.1, 0.2], [0.3], [0.4, 0.5, 0.6]])
  assert stack_curves(records, 'f1').tolist() == [
    [0.1, 0.2, 0.2],
    [0.3, 0.3, 0.3],
    [0.4, 0.5, 0.6],
  ]
  assert find_last_epochs(records) == [2, 1, 3]


@pytest.mark.parametrize('epochs', [[1, 1], [1, 3], [2], [0, 1]])
def test_an_epoch_missing_or_twice_is_an_error(epochs):
  records = [{'fold': 4, 'epoch': epoch, 'f1': 0.5} for epoch in epochs]
  with pytest.raises(ValueError, match='fold 4: an epoch is missing or there twice'):
    stack_curves(records, 'f1')


def test_no_records_is_an_error():
  with pytest.raises(ValueError, match='no metric records'):
    paper_protocol([])


def test_nash_is_the_first_epoch_within_the_threshold():
  records = make_counts(
    [(73, 946), (532, 552), (600, 600)],  # a difference of just 20
    [(73, 946), (532, 553)],
    [(500, 490)],
  )
  assert find_nash_epochs(records, 20) == [2, None, 1]
  assert find_nash_epochs(records[::-1], 20) == [2, None, 1]
  assert find_nash_epochs(records, 0) == [3, None, None]


def test_nash_of_the_paper():
  # Section 4.1: epoch 81 at 1:1000 is at equilibrium, epoch 6 (Table 1) is not.
  assert is_at_nash(532, 525, 20)
  assert not is_at_nash(810, 634, 20)
  assert is_at_nash(5, 5, 0)
