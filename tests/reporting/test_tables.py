"""The result table names its protocols and fits a terminal."""

import pytest

from egan_jax.evaluation.metrics import METRICS, constant_predictor_floor
from egan_jax.evaluation.protocols import honest_protocol, paper_protocol
from egan_jax.reporting.tables import decision_text, result_table, run_text, to_markdown


def make_summary(curves, **kwargs):
  records = [
    {'fold': fold, 'epoch': epoch, **dict.fromkeys(METRICS, value), 'fed_auroc': 0.5}
    for fold, curve in enumerate(curves)
    for epoch, value in enumerate(curve, start=1)
  ]
  return {
    'protocols': {
      'paper': paper_protocol(records),
      'honest': honest_protocol(records, **kwargs),
    },
    'always_minority': constant_predictor_floor(1000, 1000),
  }


def test_table_shows_each_protocol_and_the_floor():
  table = result_table(make_summary([[0.2, 0.8, 0.5], [0.4, 0.8, 0.7]]))
  (row,) = (line for line in table.splitlines() if line.startswith('F1 '))
  assert row.split() == ['F1', *'0.800 at epoch 2 0.600 ± 0.141 0.667'.split()]
  assert 'chosen on test labels' in ' '.join(table.split())
  explained = ' '.join(table.split())
  assert 'honest: epoch chosen on training images' in explained
  assert explained.endswith('it decides after epoch 3.')


def test_folds_that_decide_after_different_epochs_are_named_so():
  table = result_table(make_summary([[0.2, 0.8, 0.5], [0.4, 0.8], [0.1]]))
  assert ' '.join(table.split()).endswith('it decides after epoch 1 to 3.')


@pytest.mark.parametrize('selected', [False, True])
@pytest.mark.parametrize('curves', [[[0.5] * 1000] * 5, [[0.5]]])
def test_table_fits_eighty_columns(curves, selected):
  table = result_table(make_summary(curves, stopped_at_nash=selected))
  assert max(map(len, table.splitlines())) <= 80


def test_a_stop_on_test_labels_is_never_called_honest():
  summary = make_summary([[0.5], [0.6]], stopped_at_nash=True)
  table = result_table(summary)
  assert 'honest' not in table.lower()
  assert 'last epoch (oracle)' in table


def test_one_fold_claims_no_spread():
  table = result_table(make_summary([[0.5, 0.6]]))
  assert '±' not in table
  assert 'one fold' in table


def test_a_threshold_below_all_scores_is_not_one_above_them():
  decision = {'why': 'x', 'threshold_rule': 'minimum_cost', 'promise': 'none'}
  decision |= {'thresholds': ['-inf', 'inf'], 'notes': [], 'metrics': None}
  classes = {'minority': 'a', 'majority': 'b'}
  text = decision_text({'decision': decision, 'classes': classes})
  assert 'Score below -infinity (first of 2 folds) means a' in ' '.join(text.split())


@pytest.mark.parametrize('method, shown', [('egan', False), ('plda', True)])
def test_at_zero_the_honest_column_is_the_decision_of_a_game_only(method, shown):
  decision = {'method': method, 'why': 'x', 'threshold_rule': 'zero', 'promise': 'none'}
  decision |= {'thresholds': [0.0], 'notes': [], 'metrics': None}
  classes = {'minority': 'a', 'majority': 'b'}
  summary = make_summary([[0.5]]) | {'decision': decision, 'classes': classes}
  assert ('Score below' in run_text(summary)) == shown
  decision['notes'] = ['the rule asked for cannot be kept']
  assert 'the rule asked for cannot be kept' in run_text(summary)


def test_markdown_is_a_table_of_equal_rows():
  lines = to_markdown([['a', 'b'], ['1', '2'], ['3', '4']]).splitlines()
  assert lines == ['| a | b |', '| --- | --- |', '| 1 | 2 |', '| 3 | 4 |']
