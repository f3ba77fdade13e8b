"""The paper's tables: its figures, the cells, what is reused, what is not measured."""

import json
import subprocess
import sys

import numpy as np
import pytest

from egan_jax import config as egan_config
from egan_jax import rivals, train, workdir
from egan_jax.errors import UserError
from egan_jax.evaluation import metrics
from egan_jax.reporting import run_files
from experiments.paper import (
  epoch_report,
  figures,
  paper_figures,
  paper_tables,
  rival_runs,
  runs,
  store,
  summaries,
  table_rows,
  writing,
)
from experiments.paper.cells import (
  PAIRS,
  Cell,
  choose_chest_pair,
  describe,
  describe_command,
  make_config,
)
from tests import small_runs

LITE = ('EfficientNetLite0', 'EfficientNetLite0')
CELL = Cell('cifar10_0_1', '500', LITE)
ENVIRONMENT = {
  'cores': 2,
  'processor': 'P',
  'devices': ['cpu'],
  'python': '3',
  'versions': {'jax': '0'},
  'commit': None,
}


def make_records(seed, num_epochs=4, num_folds=5):
  rng = np.random.default_rng(seed)
  is_minority = np.arange(40) < 20
  return [
    {
      'fold': fold,
      'epoch': epoch,
      **metrics.evaluate_scores(rng.normal(size=40) - is_minority, is_minority),
      'fed_auroc': float(rng.random()),
      'generator_loss': 1.0,
      'discriminator_loss': 2.0,
    }
    for epoch in range(1, num_epochs + 1)
    for fold in range(num_folds)
  ]


def write_run(folder, seed, cell=CELL, **changes):
  """A finished workdir, as the trainer leaves it."""
  run = folder / cell.workdir_name(seed)
  config = {**make_config(cell, seed, 'somewhere').to_dict(), **changes}
  run_files.write_json(run / workdir.CONFIG, config)
  records = make_records(seed)
  run_files.append_records(run / workdir.METRICS, records)
  summary = {'seconds': {'train': 1.5}, 'environment': ENVIRONMENT}
  run_files.write_json(run / workdir.SUMMARY, summary)
  return records


def make_rivals(seed):
  rng = np.random.default_rng(seed)
  result = {}
  for name, skill in (('always_minority', 0), ('weak', 0.2), ('strong', 3)):
    is_minority = np.arange(40) < 20
    rows = [
      metrics.evaluate_scores(rng.normal(size=40) - skill * is_minority, is_minority)
      for _ in range(5)
    ]
    fields = rows[0]
    result[name] = {field: [row[field] for row in rows] for field in fields}
    result[name]['rule'] = 'target_specificity' if skill else 'zero'
  return result


@pytest.fixture
def measured(tmp_path):
  """Two seeds of a cell and their rivals, gathered and stored."""
  for seed in (0, 1):
    write_run(tmp_path, seed)
    path = tmp_path / f'{CELL.workdir_name(seed)}_rivals.json'
    run_files.write_json(path, {'rivals': make_rivals(seed)})
  cell = store.measure(CELL, [0, 1], '', tmp_path, play=False, rivals='none')
  store.write_cells({CELL.name: cell}, tmp_path / 'results')
  return cell


def test_the_paper_contradicts_itself_nowhere_else():
  for number, paper in paper_figures.CONFUSION.items():
    assert [sum(row) for row in paper['counts']] == [1000, 1000], number
  # Its confusion matrices give the F1 of the text, within rounding.
  (found, missed), (wrong, _) = paper_figures.CONFUSION[1]['counts']
  assert 2 * found / (2 * found + missed + wrong) == pytest.approx(0.74, abs=0.005)
  curves = paper_figures.read_author_curves()
  for name in set(curves) - {'what'}:
    run = curves[name]
    assert len(run['minority']) == len(run['majority']) == 100
    assert max(run['minority'] + run['majority']) <= run['test_per_class']


@pytest.mark.parametrize(
  ('dataset', 'run'), [('cifar10', 'cifar10_1to1_fold1'), ('cifar100', 'cifar100_1to1')]
)
def test_the_papers_1_to_1_rows_are_maxima_of_single_runs(dataset, run):
  curves = paper_figures.read_author_curves()[run]
  total = curves['test_per_class']
  found, right = np.array(curves['minority']), np.array(curves['majority'])
  called = found + total - right
  maxima = max(found / called), max(found / total), max(2 * found / (total + called))
  assert paper_figures.TABLE_5[dataset]['1'] == pytest.approx(maxima, abs=0.005)


def test_we_train_on_as_many_images_as_table_4_says():
  for dataset, pair in (('cifar10', 'cifar10_0_1'), ('cifar100', 'cifar100_0_1')):
    assert list(PAIRS[pair].sizes) == list(paper_figures.TABLE_4[dataset])
    for ratio, (minority, majority, *_) in paper_figures.TABLE_4[dataset].items():
      assert PAIRS[pair].sizes[ratio][:2] == (minority, majority)
    assert set(paper_figures.TABLE_5[dataset]) == set(paper_figures.TABLE_4[dataset])


def test_table_6_is_of_chexpert_where_tfds_wants_it(tmp_path):
  assert choose_chest_pair(str(tmp_path)) == 'chest_xray'
  table = tmp_path / 'downloads' / 'manual' / 'CheXpert-v1.0-small' / 'train.csv'
  table.parent.mkdir(parents=True)
  table.touch()
  assert choose_chest_pair(str(tmp_path)) == 'chexpert'
  for pair in ('chexpert', 'chest_xray'):
    assert PAIRS[pair].sizes['36'] == (*paper_figures.TABLE_6_SIZES, 5)
    assert '--table=6' in describe_command(Cell(pair, '36', LITE))


def test_table_6_has_a_row_of_each_data_set_that_was_measured(measured):
  floors = {}
  for pairs in ((), ('chexpert',), ('chexpert', 'chest_xray')):
    cells = {pair: {**measured, **describe(Cell(pair, '36', LITE))} for pair in pairs}
    table = paper_tables.TABLES[6](cells)
    text = '\n'.join(' '.join(row) for row in table.sections[''][1])
    for pair, title in (
      ('chexpert', 'CheXpert'),
      ('chest_xray', 'chest X-ray folders'),
    ):
      missing = f'{title}, 32 px, scale eGAN not measured'
      assert (missing in text) == (pair not in pairs)
      assert f'{title}, 96 px, imagenet eGAN not measured' in text
    floors[pairs] = table.floor
  assert [*floors.values()] == [None, pytest.approx(2 / 3), pytest.approx(2 / 3)]


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


def test_a_run_is_read_as_the_trainer_leaves_it(tmp_path, tiny_registered):
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
  of_seed = {'strong': 'old', 'fine_tuned': 'old'}
  old = {**measured, 'rivals': {'0': of_seed, '5': of_seed}}
  united = store.merge({'a': old}, {'a': measured})['a']['rivals']
  assert united['0'] == {**of_seed, **measured['rivals']['0']}
  assert united['1'] == measured['rivals']['1'] and united['5'] == of_seed


def test_lines_name_their_protocol_and_pool_games(measured):
  lines = summaries.summarise(measured)
  assert list(lines) == [
    summaries.ORACLE,
    summaries.HONEST,
    'best rival of 2: strong',
    summaries.FLOOR,
  ]
  assert len(lines[summaries.ORACLE]['f1']) == 2  # a seed each
  assert len(lines[summaries.HONEST]['f1']) == 10  # a game each
  assert np.mean(lines[summaries.ORACLE]['f1']) > np.mean(lines[summaries.HONEST]['f1'])
  assert lines[summaries.FLOOR]['f1'] == [pytest.approx(2 / 3)]


def test_games_that_did_not_decide_have_no_honest_line(measured):
  del measured['runs']['1']['honest']
  assert len(summaries.summarise(measured)[summaries.HONEST]['f1']) == 5
  assert '; honest line: seed 0;' in table_rows.describe_runs(measured)
  del measured['runs']['0']['honest']
  assert summaries.HONEST not in summaries.summarise(measured)
  assert summaries.count_test_images(measured) == (20, 20)
  _, rows = next(iter(paper_tables.ratios({'a': measured}).sections.values()))
  row = next(row for row in rows if row[:2] == ['1:500', summaries.HONEST])
  assert row[2:] == ['not measured'] * 6
  table_rows.count_rows(measured, (20, 20))


def test_rivals_that_were_not_measured_are_named(measured):
  for table in measured['rivals'].values():
    table['fusion'] = table['weak']
  heading = table_rows.describe_setting(measured)
  _, rows = paper_tables.rival_sections({'a': measured})[heading]
  named = {ratio: [r[1] for r in rows if r[0] == ratio] for ratio in ('1:500', '1:50')}
  missing = [n for n in rivals.names() if n not in ('always_minority', 'fusion')]
  assert named['1:500'][-1] == ', '.join(missing)
  assert named['1:50'] == ['all']
  assert rows[-1][2:] == ['not measured'] * 8


def test_a_rival_at_0_says_so_and_is_the_best_only_if_it_decides_there(measured):
  for table in measured['rivals'].values():
    table |= {'fusion': table.pop('strong'), 'fine_tuned': table.pop('weak')}
    for values in table.values():
      values['rule'] = 'zero'
  assert 'best rival of 1: fine_tuned (at 0)' in summaries.summarise(measured)
  named = [row[1] for row in table_rows.rival_rows(measured, '')]
  assert named[:2] == ['always_minority (at 0)', 'fusion (at 0, arbitrary)']


def test_settings_that_are_wanted_say_that_they_were_not_measured(measured):
  sections = paper_tables.ratios({CELL.name: measured}).sections
  for pair in ('cifar10_0_1', 'cifar10_2_3', 'cifar100_0_1'):
    for size, preprocess in ((32, 'scale'), (96, 'imagenet')):
      wanted = Cell(pair, '500', LITE, size, preprocess)
      _, rows = sections[table_rows.describe_setting(describe(wanted))]
      assert (['1:500', 'eGAN', *['not measured'] * 6] in rows) == (wanted != CELL)
  assert len(sections) == 6


def test_no_two_cells_share_a_place_in_the_picture(measured):
  others = [
    Cell('cifar10_0_1', '500', LITE, num_epochs=20),
    Cell('cifar10_0_1', '500', LITE, preprocess='imagenet'),
    Cell('cifar10_0_1', '500', ('VGG16', 'EfficientNetLite0')),
  ]
  cells = {cell.name: {**measured, **describe(cell)} for cell in (CELL, *others)}
  groups = paper_tables.ratios(cells).groups
  assert len(groups) == len(cells)
  assert 'airplane / automobile\n1:500, 32 px, scale' in groups


def test_a_figure_is_of_its_own_cells_and_says_what_makes_them(measured):
  assert [cell.ratio for cell in figures.list_cells(2)] == ['2500']
  assert [cell.ratio for cell in figures.list_cells(4)] == [*figures.RATIOS]
  other = Cell('cifar10_0_1', '50', ('VGG16', 'VGG16'))
  figure = figures.imbalance({CELL.name: measured, other.name: measured})
  assert [*figure.panels['f1']] == ['1:500']
  notes = '\n'.join(figure.notes)
  assert '--figure=4 --data_dir=DATA_DIR --runs=DIR --seeds=0`' in notes
  assert 'seed 0 x 5 folds, 2 s of training, 2 cores of P' in notes
  alone = figures.no_pretraining_counts({'linear': measured['runs']['0']})
  assert '--figure=5 --data_dir=DATA_DIR --runs=DIR --num_epochs=4`' in alone.notes[1]


# Measures, and leaves what the repository stores as it is.
_COMMAND = """
from egan_jax import command_line
from experiments import tables

tables.store.write_cells = lambda cells: None
tables.writing.write_table = 'table {}'.format
command_line.run(tables.main, required=())
"""


@pytest.mark.parametrize('played', [True, False])
def test_what_could_not_be_measured_is_told_at_the_end(played, tmp_path):
  arguments = ['--table=6', '--seeds=0,1', '--rivals=none', f'--play={played}']
  arguments += [f'--data_dir={tmp_path}/nowhere', f'--runs={tmp_path}']
  done = subprocess.run(
    [sys.executable, '-c', _COMMAND, *arguments], capture_output=True, text=True
  )
  assert done.stdout == 'table 6\n'
  assert done.returncode == played
  if played:
    name = Cell('chest_xray', '36', LITE).name
    told = f'error: could not measure {name}_seed0, {name}_seed1: '
    assert done.stderr.splitlines()[-1].startswith(told)


@pytest.mark.parametrize('number', paper_tables.TABLES)
def test_an_empty_store_prints_the_paper_and_not_measured(number, tmp_path):
  text = writing.write_table(number, tmp_path)
  assert 'not measured' in text
  assert json.loads((tmp_path / f'table{number}.json').read_text())['number'] == number
  for heading, (head, rows) in paper_tables.TABLES[number]({}).sections.items():
    assert heading in text
    assert all(len(row) == len(head) for row in rows)


def test_the_page_is_made_of_what_is_stored(measured, tmp_path, monkeypatch):
  results = tmp_path / 'results'
  monkeypatch.setattr(epoch_report, 'RESULTS', results)
  for number in paper_tables.TABLES:
    writing.write_table(number, results)
  for number in (2, 4, 5):
    writing.write_figure(number, results)
  assert (results / 'table5.png').exists()
  assert (results / 'figure4_f1.png').exists()
  writing.write_page(results, tmp_path / 'results.md')
  text = (tmp_path / 'results.md').read_text()
  assert measured['command'] in text
  assert '| 1:500 | strong |' in text
  assert 'experiments/results/table5.png' in text
  assert str(tmp_path) not in text  # no path of the machine
  f1 = np.concatenate([run['honest']['f1'] for run in measured['runs'].values()])
  assert f'{f1.mean():.3f} ± {f1.std(ddof=1):.3f}' in text


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
  rival_runs.measure(CELL, 3, '', tmp_path, 'features')
  assert len(seen) == 1  # measured once
