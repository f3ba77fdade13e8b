"""The paper's tables and figures: what they print of what is stored."""

import json
import subprocess
import sys

import numpy as np
import pytest

from egan_jax import rivals
from experiments.epoch_rules import report as epoch_report
from experiments.paper import (
  figures,
  paper_figures,
  paper_tables,
  rendering,
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
)
from tests.experiments.stored_runs import CELL, ENVIRONMENT, LITE, make_rivals


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
    assert PAIRS[pair].sizes['36'] == (30, 1080, 5)
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


def test_lines_name_their_protocol_and_pool_games(measured):
  lines = summaries.summarise(measured)
  assert list(lines) == [
    summaries.ORACLE,
    summaries.HONEST,
    'best rival of 2: nearest_class_mean',
    summaries.FLOOR,
  ]
  assert len(lines[summaries.ORACLE]['f1']) == 2  # a seed each
  assert len(lines[summaries.HONEST]['f1']) == 10  # a game each
  assert np.mean(lines[summaries.ORACLE]['f1']) > np.mean(lines[summaries.HONEST]['f1'])
  assert lines[summaries.FLOOR]['f1'] == [pytest.approx(2 / 3)]


def test_what_follows_from_counts_is_what_scikit_learn_says_of_the_images(measured):
  pooled = summaries.summarise_rivals(measured)
  for name, values in pooled.items():
    tables = measured['rivals'].values()
    # As `metrics.evaluate_scores` has it, from labels.
    stored = [make_rivals(seed)[name]['matthews_correlation'] for seed in (0, 1)]
    np.testing.assert_allclose(values['matthews_correlation'], np.ravel(stored))
    assert values['worst_f1'] == [min(min(table[name]['f1']) for table in tables)]
  lines = summaries.summarise(measured)
  honest, floor = lines[summaries.HONEST], lines[summaries.FLOOR]
  assert len(honest['matthews_correlation']) == 10
  assert honest['worst_f1'] == [min(honest['f1'])]
  assert floor['matthews_correlation'] == [0.0]
  assert not {*summaries.OF_GAMES} & {*lines[summaries.ORACLE]}
  assert table_rows.cells_of(lines[summaries.ORACLE])[-2:] == ['-', '-']


def test_the_best_rival_is_picked_on_draws_that_all_have(measured):
  tables = measured['rivals']
  better = np.add(tables['0']['nearest_class_mean']['balanced_accuracy'], 0.01)
  tables['0']['fine_tuned'] = {
    **tables['0']['nearest_class_mean'],
    'balanced_accuracy': better.tolist(),
  }
  # Easier draws, which the other one does not have.
  tables['1']['nearest_class_mean']['balanced_accuracy'] = [1.0] * 5
  best = summaries.find_best_rival(measured)
  assert [*best] == ['best rival of 3: fine_tuned']
  assert len(best['best rival of 3: fine_tuned']['f1']) == 5


def test_a_rival_that_trains_a_head_names_its_machine(measured):
  for seed, table in measured['rivals'].items():
    table['fine_tuned'] = table['mahalanobis'] | {'machine': 'M', 'commit': f'c{seed}'}
    table['mahalanobis'] |= {'machine': 'another', 'commit': 'c'}
  told = table_rows.describe_runs(measured)
  assert told.endswith('train a head: seeds 0, 1, M, egan_jax c0, c1')
  del measured['rivals']['0']['fine_tuned'], measured['rivals']['1']['fine_tuned']
  assert table_rows.describe_runs(measured).endswith('rivals: seeds 0, 1')


def test_stored_rivals_of_a_kind_have_the_same_draws():
  for name, cell in store.read_cells().items():
    for kind in (rivals.FEATURES, rivals.BOUNDARY):
      seeds = {
        rival: [seed for seed, table in cell['rivals'].items() if rival in table]
        for rival in rivals.names()
        if rivals.get(rival).reads == kind
      }
      drawn = {tuple(found) for found in seeds.values() if found}
      assert len(drawn) <= 1, (name, seeds)


def test_rivals_that_were_not_measured_are_named(measured):
  for table in measured['rivals'].values():
    table['fusion'] = table['mahalanobis']
  heading = table_rows.describe_setting(measured)
  _, rows = paper_tables.rival_sections({'a': measured})[heading]
  named = {ratio: [r[1] for r in rows if r[0] == ratio] for ratio in ('1:500', '1:50')}
  measured_names = {*measured['rivals']['0']}
  missing = [n for n in rivals.names() if n not in measured_names]
  assert named['1:500'][-1] == ', '.join(missing)
  assert named['1:50'] == ['all']
  assert rows[-1][2:] == ['not measured'] * 11


def test_a_rival_at_0_says_so_and_is_the_best_only_if_it_decides_there(measured):
  for table in measured['rivals'].values():
    table |= {
      'fusion': table.pop('nearest_class_mean'),
      'fine_tuned': table.pop('mahalanobis'),
    }
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
      assert (['1:500', 'eGAN', *['not measured'] * 8] in rows) == (wanted != CELL)
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
  lines = summaries.summarise({**measured, 'runs': {'0': measured['runs']['0']}})
  assert [row[1] for row in figure.rows] == [*lines]
  assert table_rows.cells_of(lines[summaries.HONEST]) in [r[2:] for r in figure.rows]
  alone = figures.no_pretraining_counts({'linear': measured['runs']['0']}, {})
  assert '--figure=5 --data_dir=DATA_DIR --runs=DIR --num_epochs=4`' in alone.notes[2]


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


@pytest.mark.parametrize('seeds', ['', '-1', '0,x', str(2**32)])
def test_seeds_that_are_none_are_refused(seeds, run_command, tmp_path):
  arguments = '--table=1', f'--seeds={seeds}', '--noplay', f'--runs={tmp_path}'
  done = run_command('experiments.tables', *arguments)
  assert done.status == 1
  assert done.stderr == f'error: --seeds={seeds}: one or more, each in [0, 2**32)\n'


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
  assert '| 1:500 | nearest_class_mean |' in text
  assert 'experiments/results/table5.png' in text
  assert str(tmp_path) not in text  # no path of the machine
  f1 = np.concatenate([run['honest']['f1'] for run in measured['runs'].values()])
  assert f'{f1.mean():.3f} ± {f1.std(ddof=1):.3f}' in text


def test_a_machine_is_told_once_with_its_commits_and_which_were_changed():
  sha = '0123456789abcdef'
  commits = (sha, f'{sha}-dirty', sha)
  told = rendering.describe_machines({**ENVIRONMENT, 'commit': c} for c in commits)
  assert told.endswith('JAX 0, egan_jax 012345678, 012345678-dirty')
  assert told.count('JAX') == 1
