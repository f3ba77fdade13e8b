"""The runs and rivals behind the cells: what is played, read, refused and merged."""

import jax
import numpy as np
import pytest

from egan_jax import config as egan_config
from egan_jax import train
from egan_jax.errors import UserError
from experiments.paper import rival_runs, runs, store
from experiments.paper.cells import PAIRS, Cell, make_config
from tests import small_runs
from tests.experiments.stored_runs import CELL, LITE, write_run


def test_every_cell_has_a_config_that_can_be_run_and_a_name_of_its_own():
  cells = [
    Cell(pair, ratio, LITE, size)
    for pair in PAIRS
    for ratio in PAIRS[pair].sizes
    for size in (32, 96)
  ]
  for cell in cells:
    egan_config.check(make_config(cell, 0, '').to_dict())
  assert len({cell.workdir_name(s) for cell in cells for s in (0, 1)}) == 2 * len(cells)
  with pytest.raises(UserError, match="no ratio '7'"):
    Cell('cifar10_0_1', '7', LITE)
  with pytest.raises(UserError, match="unknown pair 'x'"):
    Cell('x', '1', LITE)
  with pytest.raises(UserError, match="unknown backbone 'x'"):
    Cell('cifar10_0_1', '1', ('EfficientNetLite0', 'x'))


def test_a_finished_run_is_not_played_again_and_a_missing_one_is(tmp_path, monkeypatch):
  played = []
  monkeypatch.setattr(
    train, 'train_and_evaluate', lambda config, folder: played.append(config.seed)
  )
  write_run(tmp_path, 0)
  for seed in (0, 1):
    runs.play(CELL, seed, 'DATA', tmp_path)
  assert played == [1]


def test_a_run_is_read_as_the_protocols_say(tmp_path):
  records = write_run(tmp_path, 0)
  run = runs.read(CELL, 0, tmp_path)
  decided = [
    max((r for r in records if r['fold'] == fold), key=lambda r: r['fed_auroc'])
    for fold in range(5)
  ]
  for field in ('f1', 'epoch'):
    assert run['honest'][field] == [record[field] for record in decided]
  assert len({*run['honest']['epoch']}) > 1
  means = [
    np.mean([r['f1'] for r in records if r['epoch'] == epoch]) for epoch in range(1, 5)
  ]
  assert run['oracle']['metrics']['f1']['mean'] == pytest.approx(max(means))
  assert run['curves']['f1'] == np.round(means, 4).tolist()
  assert runs.read(CELL, 1, tmp_path) is None


@pytest.mark.usefixtures('tiny_registered', 'without_figures')
def test_a_run_is_read_as_the_trainer_leaves_it(tmp_path):
  summary = train.train_and_evaluate(small_runs.make_config(), tmp_path)
  run = runs.describe(small_runs.read_records(tmp_path), summary)
  honest = summary['protocols']['honest']
  assert run['honest']['epoch'] == honest['epochs']
  for field in ('f1', 'auroc'):
    mean = honest['metrics'][field]['mean']
    assert np.mean(run['honest'][field]) == pytest.approx(mean)
  assert run['seconds']['train'] > 0


def test_a_run_of_something_else_is_refused(tmp_path):
  write_run(tmp_path, 0, num_minority=11)
  with pytest.raises(UserError, match='num_minority is 11 there and 10 here'):
    runs.read(CELL, 0, tmp_path)
  # A field that an older version did not have is none of its business.
  write_run(tmp_path, 1, unheard_of=1)
  assert runs.read(CELL, 1, tmp_path)


def test_what_cannot_be_run_says_why_and_stops_nothing(tmp_path, monkeypatch):
  def fail(config, folder):
    raise UserError('no weights')

  monkeypatch.setattr(train, 'train_and_evaluate', fail)
  cell = store.measure(CELL, [0], '', tmp_path, play=True, rivals='none')
  assert cell['missing'] == {'0': 'no weights'}
  assert cell['runs'] == {}


def test_merging_keeps_the_seeds_of_both(measured):
  old = {**measured, 'runs': {'0': 'old', '5': 'old'}, 'estimated_seconds': 3.0}
  merged = store.merge({'a': old, 'b': old}, {'a': measured})
  assert set(merged) == {'a', 'b'}
  assert set(merged['a']['runs']) == {'0', '1', '5'}
  assert merged['a']['runs']['0'] == measured['runs']['0']
  assert merged['a']['estimated_seconds'] == 3.0
  nothing = {**measured, 'runs': {}, 'rivals': {}}
  assert store.merge({}, {'c': nothing}) == {}
  assert store.merge({'a': old}, {'a': nothing}) == {'a': old}


def test_merging_keeps_the_rivals_of_both(measured):
  of_seed = {'nearest_class_mean': 'old', 'fine_tuned': 'old'}
  old = {**measured, 'rivals': {'0': of_seed, '5': of_seed}}
  united = store.merge({'a': old}, {'a': measured})['a']['rivals']
  assert united['0'] == {**of_seed, **measured['rivals']['0']}
  assert united['1'] == measured['rivals']['1'] and united['5'] == of_seed


def test_rivals_see_the_draws_of_the_run(tmp_path, monkeypatch):
  """Same positions as `train` draws, features instead of images."""
  rng = np.random.default_rng(0)
  features = {
    'minority': np.arange(60.0)[:, None] + [[0, 0.5]],
    'majority': 100 + rng.normal(size=(5000, 2)),
    'test': rng.normal(size=(20, 2)),
  }

  class Images:
    minority = range(60)
    majority = range(5000)
    test_is_minority = np.arange(20) < 10

  monkeypatch.setattr(rival_runs, '_load', lambda *a: Images)
  monkeypatch.setattr(rival_runs, '_extract', lambda *a: features)
  seen = []
  compare = rival_runs.rivals.compare

  def keep(majority, minority, *arguments, **options):
    seen.append((majority, minority))
    return compare(majority, minority, *arguments, **options)

  monkeypatch.setattr(rival_runs.rivals, 'compare', keep)
  monkeypatch.setattr(rival_runs.rivals, 'names', lambda: ('nearest_class_mean',))
  rival_runs.measure(CELL, 3, '', tmp_path, 'features')
  majority, minority = seen[0]
  assert majority.shape == (5000, 2) and minority.shape == (5, 10, 2)
  drawn = minority[..., 0].ravel()
  assert len({*drawn}) == 50
  expected = rival_runs.draw(3, 5, 10, 5000, 60, 5000).minority
  assert drawn.tolist() == expected.ravel().tolist()

  stored = rival_runs.read(CELL, 3, tmp_path)['rivals']['nearest_class_mean']
  assert len(stored['f1']) == 5 and stored['rule'] == 'target_specificity'
  assert stored['machine'].endswith(f'JAX {jax.__version__}') and stored['commit']
  rival_runs.measure(CELL, 3, '', tmp_path, 'features')
  assert len(seen) == 1  # measured once
