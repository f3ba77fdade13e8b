"""docs/your_own_images.md, word for word, on small folders."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from egan_jax import bundle, explain
from egan_jax.data import image_files
from egan_jax.evaluation import thresholds
from egan_jax.predict import COLUMNS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'your_own_images.md').read_text()
FENCES = re.findall(r'^```(sh|python)\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)


class Done(NamedTuple):
  status: int
  stdout: str
  stderr: str


def _write_digits(digit, numbers, folder):
  folder.mkdir(parents=True, exist_ok=True)
  digits = load_digits()
  images = digits.images[digits.target == digit]
  for number in numbers:
    pixels = np.round(images[number] * (255 / 16)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
    image.save(folder / f'{digit}_{number:03d}.jpg')


class Desk:
  """A folder with images, where commands are run one after the other."""

  def __init__(self, folder):
    self.folder = folder
    caches = {
      name: str(folder / 'caches' / name)
      for name in ('JAX_COMPILATION_CACHE_DIR', 'EGAN_ACTIVATIONS_DIR')
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    self.environment = {**os.environ, **caches, 'PATH': path}
    (folder / 'configs').symlink_to(ROOT / 'configs')

  def run(self, language, code):
    program = ['bash', '-ec'] if language == 'sh' else [sys.executable, '-c']
    done = subprocess.run(
      [*program, code],
      cwd=self.folder,
      env=self.environment,
      capture_output=True,
      text=True,
    )
    print(code, done.stdout, done.stderr, sep='\n')
    return Done(done.returncode, done.stdout, done.stderr)

  def read(self, name):
    with open(self.folder / name, newline='') as file:
      return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def desk(tmp_path_factory):
  """All that the page does, in its order; `outputs` are what its fences printed."""
  desk = Desk(tmp_path_factory.mktemp('desk'))
  # Of 40 images 32 are left to train on, and 29 are needed for the sensitivity.
  _write_digits(8, range(40), desk.folder / 'defect')
  _write_digits(3, range(120), desk.folder / 'good')
  _write_digits(8, range(150, 154), desk.folder / 'new')
  _write_digits(3, range(150, 156), desk.folder / 'new')
  outputs = [desk.run(*fence) for fence in FENCES]
  assert [output.status for output in outputs] == [0] * len(FENCES)
  desk.outputs = outputs
  return desk


def _output_of(desk, part):
  (found,) = [
    output
    for (_, code), output in zip(FENCES, desk.outputs, strict=True)
    if part in code
  ]
  return found.stdout


@pytest.mark.slow
def test_run_leaves_what_the_page_lists(desk):
  listed = re.findall(
    r'^\| (`.*?) \|', PAGE.split('The workdir `run`')[1], re.MULTILINE
  )
  names = [name for cell in listed[:4] for name in re.findall(r'`([\w./]+)`', cell)]
  assert {'report.html', 'model/', 'summary.json', 'config.json'} <= {*names}
  assert not [name for name in names if not (desk.folder / 'run' / name).exists()]
  assert 'PNEUMONIA' not in (desk.folder / 'run' / 'report.html').read_text()
  assert 'defect' in (desk.folder / 'run' / 'report.html').read_text()


@pytest.mark.slow
def test_training_prints_data_report_and_decision(desk):
  text = _output_of(desk, '--workdir=run')
  assert re.search(r'defect +minority +32 +8$', text, re.MULTILINE)
  assert re.search(r'good +majority +96 +24$', text, re.MULTILINE)
  assert 'held out of train' in text
  assert 'used for training: 32 of defect and 96 of good' in text
  assert 'always minority' in text
  assert 'report.html' in text


@pytest.mark.slow
def test_predictions(desk):
  rows = desk.read('scores.csv')
  assert list(rows[0]) == list(COLUMNS)
  documented = re.findall(r'^\| `(\w+)` \| ', PAGE.split('## 3.')[1], re.MULTILINE)
  assert documented == list(COLUMNS)
  assert len(rows) == 10
  decided = {Path(row['path']).name: row['decision'] for row in rows}
  right = [
    decision == ('defect' if name.startswith('8') else 'good')
    for name, decision in decided.items()
  ]
  assert np.mean(right) >= 0.8
  for row in rows:
    is_minority = float(row['score']) < float(row['threshold'])
    assert row['decision'] == ('defect' if is_minority else 'good')


@pytest.mark.slow
def test_stricter_cut_calls_fewer_minority(desk):
  usual, strict = desk.read('scores.csv'), desk.read('strict.csv')
  assert [row['score'] for row in usual] == [row['score'] for row in strict]
  assert float(strict[0]['threshold']) < float(usual[0]['threshold'])


@pytest.mark.slow
def test_thresholds_are_by_the_rules_asked_for(desk):
  assert bundle.load(desk.folder / 'run').threshold.rule == 'expected_f1'
  costs = bundle.load(desk.folder / 'costs')
  assert costs.threshold.rule == 'minimum_cost'
  # Bayes: minority where its odds exceed 1 to 50.
  p = costs.calibration.probabilities(costs.threshold.value, 0.01)
  np.testing.assert_allclose(p, 1 / 51, rtol=1e-6)
  assert bundle.load(desk.folder / 'careful').threshold.rule == 'target_sensitivity'


@pytest.mark.slow
def test_abstaining_leaves_open_what_is_between_the_cuts(desk):
  rows = desk.read('unsure.csv')
  assert list(rows[0]) == [*COLUMNS, 'majority_from']
  assert len(rows) == 10
  for row in rows:
    score, lower, upper = (
      float(row[name]) for name in ('score', 'threshold', 'majority_from')
    )
    expected = 'defect' if score < lower else 'abstain' if score < upper else 'good'
    assert row['decision'] == expected
  assert _output_of(desk, 'from egan_jax').split() == [row['decision'] for row in rows]
  promises = _output_of(desk, '--abstain')
  assert 'abstain counted as good: a new majority image' in promises
  assert 'abstain counted as defect: a new minority image' in promises


@pytest.mark.slow
def test_explanations(desk):
  panels = sorted((desk.folder / 'why').glob('*.png'))
  assert len(panels) == 10
  for panel in panels:
    with Image.open(panel) as image:
      image.verify()
  model = bundle.load(desk.folder / 'run')
  for path in sorted((desk.folder / 'new').iterdir()):
    pixels = image_files.decode(path, model.image_size)
    assert np.isfinite(explain.explain_image(model, pixels).evidence).all()


@pytest.mark.slow
def test_comparison_names_all_runs(desk):
  text = _output_of(desk, 'egan_jax.compare')
  head = text.splitlines()[0].split()
  assert head == ['run', 'costs', 'careful']
  assert 'config.threshold' in text
  written = {path.name for path in (desk.folder / 'comparison').iterdir()}
  assert written == {'compare.md', 'compare.png'}


@pytest.mark.slow
def test_unreadable_file_gets_a_row_and_status_2(desk):
  folder = desk.folder / 'with_broken'
  _write_digits(8, range(150, 152), folder)
  (folder / 'broken.jpg').write_text('no image')
  done = desk.run(
    'sh', 'python -m egan_jax.predict --model=run --images=with_broken --output=b.csv'
  )
  assert done.status == 2
  by_name = {Path(row['path']).name: row for row in desk.read('b.csv')}
  assert by_name['broken.jpg']['decision'] == 'unreadable'
  assert by_name['broken.jpg']['error']
  assert by_name['8_150.jpg']['error'] == ''


@pytest.mark.slow
def test_same_command_again_computes_nothing(desk):
  report = desk.folder / 'run' / 'report.html'
  before = report.stat().st_mtime_ns
  (command,) = [code for _, code in FENCES if '--workdir=run\n' in code]
  again = desk.run('sh', command)
  assert again.status == 0
  assert report.stat().st_mtime_ns == before
  table = _output_of(desk, '--workdir=run').split('metric ')[1]
  assert again.stdout.split('metric ')[1] == table


def test_specificities_take_as_many_images_as_the_page_says():
  for share, number in re.findall(r'(0\.9\d) takes (?:at least )?(\d+)', PAGE):
    assert thresholds.count_needed_for_specificity(float(share)) == int(number)
  assert thresholds.count_needed_for_sensitivity(0.9) == 29
  assert thresholds.count_needed_for_sensitivity(0.7) == 9


def test_links_lead_somewhere():
  links = re.findall(r'\]\(((?!http)[^)#]+)\)', PAGE)
  assert links
  assert not [link for link in links if not (ROOT / 'docs' / link).exists()]
