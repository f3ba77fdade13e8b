"""The notebooks run from their first cell to the last and come to what they promise."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

EXPERIMENTS = Path(__file__).parents[2] / 'experiments'
NOTEBOOKS = sorted(EXPERIMENTS.glob('*.ipynb'))


@pytest.fixture
def play(tmp_path, monkeypatch):
  """Executes a notebook and returns it with the values of some expressions at its end.

  Whatever a notebook writes goes to a folder of the test.
  """
  for name in ('JAX_COMPILATION_CACHE_DIR', 'EGAN_ACTIVATIONS_DIR', 'TMPDIR'):
    (tmp_path / name).mkdir()
    monkeypatch.setenv(name, str(tmp_path / name))

  def run(name, **expressions):
    notebook = nbformat.read(EXPERIMENTS / name, as_version=4)
    values = ', '.join(f'{key!r}: {value}' for key, value in expressions.items())
    notebook.cells.append(
      nbformat.v4.new_code_cell(f'import json\nprint(json.dumps({{{values}}}))')
    )
    NotebookClient(
      notebook,
      timeout=1200,
      kernel_name='python3',
      resources={'metadata': {'path': EXPERIMENTS}},
    ).execute()
    return notebook, json.loads(_texts(notebook.cells[-1]))

  return run


def _texts(cell):
  return ''.join(out.text for out in cell.outputs if out.output_type == 'stream')


def _count_pictures(notebook):
  return sum(
    'image/png' in output.get('data', {})
    for cell in notebook.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
  )


@pytest.mark.slow
def test_game_by_hand(play):
  notebook, values = play(
    'egan_colab.ipynb',
    losses='[{k: float(v) for k, v in terms.items()} for terms in losses]',
    generated='list(generated.shape)',
    floor="table['always_minority']['balanced_accuracy']",
    balanced_accuracy="{k: v['balanced_accuracy'] for k, v in table.items()}",
    threshold='egan.threshold.value',
    held_out_below='float(egan.threshold.calls_minority(egan.held_out_scores).mean())',
    decisions='predictions.decisions',
    is_minority='images.test_is_minority.tolist()',
    loaded_model_scores_alike='np.allclose(predictions.scores, '
    'Predictor(model).scores(images.test))',
  )
  assert len(values['losses']) == 20
  assert np.isfinite([list(terms.values()) for terms in values['losses']]).all()
  assert values['losses'][-1]['majority'] < values['losses'][0]['majority']
  assert values['generated'] == [5, 32, 32, 3]
  assert values['held_out_below'] <= 0.05
  assert {'egan', 'plda_knn', 'fine_tuned'} < set(values['balanced_accuracy'])
  # The prose: a threshold from held-out majority images makes a decision of the game.
  assert values['floor'] == 0.5
  assert values['balanced_accuracy']['egan'] > 0.6
  assert values['balanced_accuracy']['plda_knn'] > 0.8
  called = np.array(values['decisions']) == 'eight'
  is_minority = np.array(values['is_minority'])
  assert (called[is_minority].mean() + 1 - called[~is_minority].mean()) / 2 > 0.8
  assert values['loaded_model_scores_alike']
  assert _count_pictures(notebook) == 5


@pytest.mark.slow
def test_your_images(play):
  notebook, values = play(
    'your_images_colab.ipynb',
    rows='rows',
    decisions='predictions.decisions',
    paths='[str(path) for path in sorted(NEW.iterdir())]',
    method="json.loads((RUN / 'summary.json').read_text())['decision']['method']",
  )
  assert values['method'] == 'plda_knn'
  decided = {row['path']: row['decision'] for row in values['rows']}
  assert decided == dict(zip(values['paths'], values['decisions'], strict=True))
  is_rare = np.array(['/8_' in path for path in values['paths']])
  called = np.array(values['decisions']) == 'rare'
  assert is_rare.sum() == 5
  assert (called[is_rare].mean() + 1 - called[~is_rare].mean()) / 2 > 0.7
  assert _count_pictures(notebook) == 1
  pages = [
    output.data['text/html']
    for cell in notebook.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
    if 'text/html' in output.get('data', {})
  ]
  assert len(pages) == 1
  assert 'plda_knn' in pages[0]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == 'code']
  assert len(code) > 5
  assert not [cell for cell in code if cell.outputs or cell.execution_count]
  assert not [
    cell for cell in notebook.cells if cell.cell_type not in ('code', 'markdown')
  ]
