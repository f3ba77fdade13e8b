"""A finished run kept under experiments/results."""

import pytest
from absl.testing import flagsaver

from egan_jax import run_files, workdir
from egan_jax.errors import UserError
from experiments import keep_run


def _keep(run, monkeypatch, results):
  monkeypatch.setattr(keep_run, 'RESULTS', results)
  with flagsaver.as_parsed(run=str(run), name='kept', command='python -m x'):
    keep_run.main()


def _write_run(folder):
  run_files.write_json(folder / workdir.CONFIG, {'data_dir': '/home/me', 'seed': 3})
  draws = {'minority': [[0]], 'majority': [0], 'held_out_majority': []}
  run_files.write_json(folder / workdir.DRAWS, draws)
  summary = {'classes': {'minority': 'a', 'majority': 'b'}}
  run_files.write_json(folder / workdir.SUMMARY, summary)
  return summary


@pytest.mark.parametrize('with_figures', [True, False])
def test_kept_without_images_and_paths(with_figures, tmp_path, monkeypatch):
  run, results = tmp_path / 'run', tmp_path / 'results'
  summary = _write_run(run)
  if with_figures:
    (run / workdir.FIGURES).mkdir()
    for name in ('losses.png', 'generated_images.png'):
      (run / workdir.FIGURES / name).touch()
  _keep(run, monkeypatch, results)
  assert run_files.read_json(results / 'kept.json') == {
    'command': 'python -m x',
    'config': {'data_dir': 'DATA_DIR', 'seed': 3},
    'summary': summary,
  }
  kept = [path.name for path in (results / 'kept').glob('*')]
  assert kept == (['losses.png'] if with_figures else [])


def test_of_no_run_is_one_line(tmp_path, monkeypatch):
  with pytest.raises(UserError, match='not the workdir of a run'):
    _keep(tmp_path, monkeypatch, tmp_path / 'results')
