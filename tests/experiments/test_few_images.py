"""The experiment's short cuts give what the library gives; its tables what is stored."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from egan_jax import rivals
from egan_jax.rivals import fusion, plda
from experiments.few_images import decisions, store, tables
from experiments.few_images.problems import Problem


def _features(count, seed=0, offset=0.0):
  rng = np.random.default_rng(seed)
  return (rng.gamma(2, size=(count, 6)) + offset * np.arange(6)).astype(np.float32)


class _Problem(Problem):
  def __init__(self):
    self.numbers = (1, 3)
    self.majority = _features(60)
    self.minority = _features(12, 1, 0.5)
    self.test = np.concatenate([_features(20, 2, 0.5), _features(30, 3)])
    self.test_is_minority = np.arange(50) < 20


def test_scores_of_draws_at_once_are_those_of_each():
  problem = _Problem()
  minority = problem.draws(3, 4)
  methods = [fusion.rival(), *map(plda.rival, plda.NAMES)]
  fits = {
    rival.name: rival.fit_draws(rival.measure(problem.majority), minority, [0] * 4)
    for rival in methods
  }
  at_once = decisions.score_draws(fits['fusion'], problem.test)
  for name, scorers in fits.items():
    for draw, scorer in enumerate(scorers):
      np.testing.assert_allclose(
        at_once[name][draw], scorer.scores(problem.test), rtol=1e-3, atol=1e-3
      )


def test_decisions_are_those_of_the_library():
  problem = _Problem()
  rows = decisions.run_fusion(problem, None, 4)
  for name in ('plda', 'plda_knn', 'fusion'):
    expected = decisions.run_rival(problem, name, 4)
    for n in problem.numbers:
      for mine, theirs in zip(rows[name, n], expected[name, n], strict=True):
        for key in ('f1', 'recall', 'specificity', 'auroc'):
          assert mine[key] == pytest.approx(theirs[key], abs=1e-6)
  # No majority image is scored by a fit that saw it.
  folds = KFold(decisions.NUM_FOLDS, shuffle=True, random_state=0)
  assert sum(len(kept) for _, kept in folds.split(problem.majority)) == 60


def test_larger_draws_hold_the_smaller_ones_and_none_overlap():
  problem = _Problem()
  ones, threes = problem.draws(1, 4), problem.draws(3, 4)
  np.testing.assert_array_equal(ones[:, 0], threes[:, 0])
  assert len(np.unique(threes.reshape(-1, 6), axis=0)) == 12
  assert len(problem.draws(5, 4)) == 2


def test_features_are_read_when_they_are_all_there(tmp_path):
  which = (tmp_path, 'cifar10', 0, 'test', 'Tiny', 32)
  stem = store.stem_of(*which[1:], False)
  for chunk in range(2):
    np.save(tmp_path / f'{stem}-{chunk}.npy', np.full((3, 2), chunk))
  with pytest.raises(FileNotFoundError, match='run python -m experiments'):
    store.load(*which)
  (tmp_path / f'{stem}-done').touch()
  np.testing.assert_array_equal(store.load(*which)[:, 0], [0, 0, 0, 1, 1, 1])


def _cell(f1):
  return {
    key: list(f1) for key in ('f1', 'f1_expected', 'auroc', 'recall', 'specificity')
  }


def test_tables_say_what_is_stored():
  stored = {
    'bird/cat|EfficientNetLite0|224|plda|1': _cell([0.8, 0.9]),
    'bird/cat|EfficientNetLite0|96|fusion|1': _cell([0.5]),
  }
  cells = tables.parse(stored)
  table = tables.f1_table(cells)
  # Class mean and fusion at 32, 96 and 224 px, the last with what is between them.
  row = ['bird/cat 1', *'---', '0.500 (0.500)', '-', '0.850 (0.850)', *'--']
  assert f'| {" | ".join(row)} |' in table
  details = tables.detail_table(cells)
  assert '0.850 (0.800 to 0.900) | 0.800' in details
  assert '0.500' not in details


def test_stored_tables_are_in_the_document():
  import json

  stored = json.loads(tables.RESULT.read_text())
  text = tables.DOCUMENT.read_text()
  for table in tables.read_tables(stored).values():
    assert table in text


def test_interval_is_around_the_mean_and_narrows():
  rng = np.random.default_rng(0)
  few, many = rng.normal(size=10), rng.normal(size=1000)
  low, high = tables.interval(few)
  assert low < few.mean() < high
  width = np.subtract(*tables.interval(many)[::-1])
  assert width < (high - low) / 3
  assert width == pytest.approx(2 * 1.96 / np.sqrt(1000), rel=0.15)


def test_every_rival_of_features_is_named():
  of_features = {
    name for name in rivals.names() if rivals.get(name).reads == rivals.FEATURES
  }
  compared = {
    *decisions.RIVALS,
    *decisions.OTHER_RIVALS,
    *decisions.ONE_CLASS_RIVALS,
    decisions.SMOTE,
  }
  assert of_features - compared == {*('always_minority', 'plda', 'plda_knn', 'fusion')}


@pytest.mark.parametrize(
  'name', ['crops', 'forecast', 'fusion_search', 'search', 'views']
)
def test_commands_start_whichever_folders_they_read(run_command, name):
  result = run_command(f'experiments.few_images.{name}', 'surplus')
  assert result.status == 1
  assert result.stderr == "error: unexpected argument 'surplus'\n"
