"""Runs side by side: one column each, and only what differs of their configs."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from egan_jax import compare, run_files, workdir
from egan_jax import config as egan_config
from egan_jax.errors import UserError
from egan_jax.evaluation import intervals, metrics
from egan_jax.evaluation.metrics import METRICS
from egan_jax.reporting import report, tables

IS_MINORITY = np.arange(30) < 10


def _write_run(folder, seed, measured=True, protocols=True, **config):
  config = {**egan_config.default().to_dict(), 'seed': seed, **config}
  scores = np.random.default_rng(seed).normal(size=(2, 30))
  summary = {'classes': {'minority': 'a<b>', 'majority': 'o|k'}, 'seconds': {'x': 2.6}}
  evaluated = [metrics.evaluate_scores(of_fold, IS_MINORITY, 0.5) for of_fold in scores]
  if protocols:
    records = [
      {
        **one,
        'fold': fold,
        'epoch': epoch,
        'f1': one['f1'] / epoch,
        'fed_auroc': 1 / epoch,
      }
      for epoch in (1, 2)
      for fold, one in enumerate(evaluated)
    ]
    summary |= report.summarise(records, 5, False, 2)
  summary['decision'] = {
    'label': 'honest: of training images',
    'method': 'plda',
    'why': 'why not',
    'threshold_rule': 'target_specificity',
    'promise': '',
    'thresholds': [0.5, 'inf'],
    'notes': [],
    'metrics': intervals.over_draws(evaluated) if measured else None,
    'metrics_at_prior': None,
  }
  report.write_scores(folder / workdir.SCORES, scores, IS_MINORITY, np.arange(30))
  draws = {
    'minority': [[1, 2, 3], [4, 5, 6]],
    'majority': list(range(18)),
    'held_out_majority': [18, 19],
  }
  for name, value in (
    (workdir.CONFIG, config),
    (workdir.DRAWS, draws),
    (workdir.SUMMARY, summary),
  ):
    run_files.write_json(folder / name, value)
  return folder, summary


@pytest.fixture
def runs(tmp_path):
  return [
    _write_run(tmp_path / 'one' / 'run', 1),
    _write_run(tmp_path / 'two', 2, measured=False, image_size=64),
    _write_run(tmp_path / 'three', 3, protocols=False, method='plda'),
  ]


def _read(runs):
  return compare.read_runs([folder for folder, _ in runs])


def _row(rows, title):
  (row,) = (row for row in rows if row[0] == title)
  return row[1:]


def test_each_column_is_what_the_run_says(runs):
  rows = compare.tabulate(_read(runs))
  assert rows[0] == ['', 'run', 'two', 'three']
  assert _row(rows, 'method') == ['plda'] * 3
  assert _row(rows, 'training images') == ['2 x 3 / 20'] * 3
  assert _row(rows, 'test images') == ['10 + 20'] * 3
  assert _row(rows, 'seconds') == ['3'] * 3
  assert _row(rows, 'threshold') == ['target_specificity: 0.5 to infinity'] * 3
  for column, (_, summary) in enumerate(runs):
    for name, title in (('f1', 'F1'), ('auroc', 'AUROC')):
      if 'protocols' in summary:
        honest = summary['protocols']['honest']['metrics'][name]
        best = summary['protocols']['paper']['metrics'][name]
        honest_cell = f'{honest["mean"]:.3f} ± {honest["std"]:.3f}'
        best_cell = f'{best["mean"]:.3f} ± {best["std"]:.3f} at epoch {best["epoch"]}'
      else:
        honest_cell = best_cell = '-'
      assert _row(rows, f'{title}, honest')[column] == honest_cell
      assert _row(rows, f'{title}, paper (oracle)')[column] == best_cell
  floor = metrics.constant_predictor_floor(10, 20)['f1']
  assert _row(rows, 'F1, always minority') == [f'{floor:.3f}'] * 3


def test_a_decision_that_test_labels_stopped_is_called_an_oracles(tmp_path):
  folder, summary = _write_run(tmp_path / 'stopped', 1)
  summary['decision']['label'] = 'oracle: stopped at Nash equilibrium'
  run_files.write_json(folder / workdir.SUMMARY, summary)
  titles = [row[0] for row in compare.tabulate(compare.read_runs([folder]))]
  assert 'F1, decision (oracle)' in titles and 'F1, decision' not in titles


def test_rows_nobody_has_are_left_out(runs):
  rows = compare.tabulate(_read(runs[1:2]))
  assert not [row for row in rows if 'decision' in row[0]]


def test_only_differing_fields_are_shown(runs):
  rows = compare.find_differences(_read(runs))
  assert rows == [
    ['', 'run', 'two', 'three'],
    ['config.image_size', '32', '64', '32'],
    ['config.method', 'egan', 'egan', 'plda'],
    ['config.seed', '1', '2', '3'],
  ]
  assert len(compare.find_differences(_read(runs[:1]))) == 1


def test_runs_of_one_name_go_by_their_paths(runs, tmp_path):
  other, _ = _write_run(tmp_path / 'other' / 'run', 4)
  named = compare.name_runs(compare.read_runs([runs[0][0], other]))
  assert named == [str(runs[0][0].resolve()), str(other.resolve())]


def test_tables_have_as_many_columns_everywhere(runs):
  rows = compare.tabulate(_read(runs))
  text = tables.align(rows).splitlines()
  assert len(text) == len(rows) + 1
  starts = [line.index('run') for line in text[:1]]
  assert all(line[starts[0] - 1] == ' ' for line in text if len(line) > starts[0])
  markdown = compare.to_markdown(rows).splitlines()
  assert {line.replace('\\|', '').count('|') for line in markdown} == {5}
  assert not [line for line in markdown if '<b>' in line]


def test_written_files_can_be_looked_at(runs, tmp_path):
  compare.write(_read(runs), tmp_path / 'output')
  text = (tmp_path / 'output' / 'compare.md').read_text()
  assert '| config.seed | 1 | 2 | 3 |' in text
  with Image.open(tmp_path / 'output' / 'compare.png') as image:
    assert image.format == 'PNG'
    assert np.asarray(image.convert('L')).std() > 5


def test_the_figure_needs_no_results(tmp_path):
  folder, _ = _write_run(tmp_path / 'bare', 1, measured=False, protocols=False)
  compare.draw(compare.read_runs([folder]), tmp_path / 'figure.png')
  assert (tmp_path / 'figure.png').exists()


def test_what_is_no_finished_run_is_refused(runs, tmp_path):
  finished = runs[0][0]
  (runs[1][0] / workdir.SUMMARY).unlink()
  (tmp_path / 'loop').symlink_to('loop')
  for folders, says in [
    ([], 'no run is given'),
    ([tmp_path], 'not the workdir of a run'),
    ([finished, tmp_path / 'none'], 'not the workdir of a run'),
    ([tmp_path / 'loop'], 'not the workdir of a run'),
    ([runs[1][0]], 'not finished'),
    ([finished, finished / '..' / 'run'], 'given twice'),
  ]:
    with pytest.raises(UserError, match=says) as error:
      compare.read_runs(folders)
    assert '\n' not in str(error.value)
  with pytest.raises(UserError, match='cannot write'):
    compare.write(_read(runs[:1]), finished / workdir.CONFIG)


def test_names_that_are_not_utf_8_and_infinite_thresholds(tmp_path):
  folder, summary = _write_run(tmp_path / os.fsdecode(b'r\xe4n'), 1)
  summary['classes']['minority'] = os.fsdecode(b'b\xe4d')
  summary['decision']['thresholds'] = ['inf', '-inf']
  run_files.write_json(folder / workdir.SUMMARY, summary)
  done = subprocess.run(
    [sys.executable, '-m', 'egan_jax.compare', folder, '--output=both'],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONIOENCODING': 'utf-8:strict'},
  )
  assert done.returncode == 0, done.stderr
  for text in (done.stdout, (tmp_path / 'both' / 'compare.md').read_text()):
    assert r'r\udce4n' in text and r'b\udce4d / o' in text
    assert 'target_specificity: -infinity to infinity' in text


def test_the_command(runs, tmp_path, run_command):
  folders = [folder for folder, _ in runs]
  done = run_command(
    'egan_jax.compare', *folders[:2], '--output', 'side by side', folder=tmp_path
  )
  assert done.status == 0, done.stderr
  assert done.stdout.startswith(tables.align(compare.tabulate(_read(runs[:2]))))
  assert {path.name for path in (tmp_path / 'side by side').iterdir()} == {
    'compare.md',
    'compare.png',
  }
  refused = run_command('egan_jax.compare', tmp_path)
  assert refused.status == 1
  assert refused.stdout == ''
  assert refused.stderr == (
    f'error: {tmp_path} is not the workdir of a run: it has no config.json\n'
  )


def test_the_metrics_shown_exist():
  assert {name for names in compare._SHOWN.values() for name in names} <= {
    *METRICS,
    *metrics.FURTHER_METRICS,
  }
