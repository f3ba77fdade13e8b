"""The run report: what it says, and what a browser makes of it."""

import dataclasses
import html
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from playwright import sync_api

from egan_jax import config as egan_config
from egan_jax import run_files, workdir
from egan_jax.data import data_report
from egan_jax.data.image_files import ImageFacts
from egan_jax.errors import UserError
from egan_jax.evaluation import calibration, epoch_records, intervals, metrics
from egan_jax.evaluation.metrics import constant_predictor_floor
from egan_jax.reporting import (
  finished_run,
  html_report,
  mistakes,
  report,
  report_results,
  report_sections,
)

CONFIG = Path(__file__).parents[2] / 'configs' / 'cifar10.py'
CHROMIUM = shutil.which('chromium')
CLASSES = '<script>alert(1)</script> & "$x"', 'ordinary'
IS_MINORITY = np.arange(40) < 15
THRESHOLDS = [-0.5, 0.25]


def _scores():
  noise = np.random.default_rng(0).normal(size=(2, 40))
  return np.where(IS_MINORITY, noise - 1, noise + 1).astype(np.float32)


def _write_run(folder, summary, config=None):
  config = {**egan_config.default().to_dict(), 'num_folds': 2, **(config or {})}
  draws = {
    'minority': [[1, 2, 3], [4, 5, 6]],
    'majority': list(range(20)),
    'held_out_majority': [],
  }
  run_files.write_json(folder / workdir.CONFIG, config)
  run_files.write_json(folder / workdir.DRAWS, draws)
  run_files.write_json(folder / workdir.SUMMARY, summary)
  return folder


def _write_scores(folder):
  path = folder / workdir.SCORES
  report.write_scores(path, _scores(), IS_MINORITY, np.arange(40))


def _make_data_report():
  records = [
    data_report.Record(
      f'{split}/{label}/{i}.png',
      label,
      split,
      ImageFacts(8 + i, 9, 'L', 63, str(i), ''),
    )
    for split in ('train', 'test')
    for label in CLASSES
    for i in range(3)
  ]
  unreadable = [('train/<i>broken</i>.png', 'is damaged')]
  return data_report.make(
    'data', *CLASSES, records, unreadable, {'hidden': 2}, held_out=True
  )


def _evaluate(prior=None):
  return intervals.over_draws(
    [
      metrics.evaluate_scores(scores, IS_MINORITY, threshold, prior)
      for scores, threshold in zip(_scores(), THRESHOLDS, strict=True)
    ]
  )


def _make_summary():
  return {
    'classes': dict(zip(('minority', 'majority'), CLASSES, strict=True)),
    'data': _make_data_report(),
    'decision': {
      'label': 'honest: threshold from training images',
      'method': 'plda',
      'backbones': ['EfficientNetLite0'],
      'why': 'it was better & cheaper',
      'threshold_rule': 'target_specificity',
      'promise': 'a promise',
      'thresholds': THRESHOLDS,
      'notes': ['a note'],
      'metrics': _evaluate(),
      'prior': 0.5,
      'metrics_at_prior': None,
    },
    'rivals': [
      {
        'rival': name,
        'chosen': name == 'plda',
        'threshold_rule': 'zero',
        'metrics': measured,
      }
      for name, measured in (('plda', _evaluate()), ('mahalanobis', _evaluate()))
    ],
    'seconds': {'setup': 1.25, 'train': 2.5},
    'environment': {'commit': None, 'cores': 2, 'versions': {'egan_jax': '0.1.0'}},
  }


@pytest.fixture(scope='module')
def full(tmp_path_factory):
  """A run with everything that a page can show."""
  folder = tmp_path_factory.mktemp('full')
  ones = {name: np.ones(2) for name in ('majority', 'generated', 'generator')}
  active = np.ones(2, bool)
  records = [
    record
    for epoch in (1, 2)
    for record in epoch_records.make_records(
      epoch,
      active,
      ones,
      {
        'test': _scores() - epoch,
        'fed_minority': -np.ones((2, 3)),
        'fed_majority': np.ones((2, 4)),
      },
      IS_MINORITY,
    )
  ]
  run_files.append_records(folder / workdir.METRICS, records)
  summary = {**_make_summary(), **report.summarise(records, 5, False, 2)}
  _write_run(folder, summary, {'data_dir': "/a b'c", 'method': 'plda'})
  _write_scores(folder)
  images = np.random.default_rng(1).integers(0, 256, (2, 3, 8, 8, 3), np.uint8)
  report.draw_figures(
    folder / workdir.FIGURES,
    records,
    summary['protocols']['honest'],
    _scores(),
    IS_MINORITY,
    images,
    images,
  )
  line = calibration.fit(_scores()[0, 15:], _scores()[0, :15])
  run_files.write_json(
    folder / 'model' / 'model.json', {'calibration': dataclasses.asdict(line)}
  )
  html_report.write(folder, _find_mistakes())
  return folder


def _find_mistakes():
  images = np.random.default_rng(1).integers(0, 256, (40, 70, 50, 3), np.uint8)
  names = [f'test/<u>{i}</u>.png' for i in range(40)]
  return mistakes.find(_scores()[0], IS_MINORITY, 0.0, images, names)


def _read(folder):
  return (folder / workdir.REPORT).read_text()


def _sections(page):
  return re.findall(r'<section id="(\w+)">', page)


def test_every_section_is_there_and_linked(full):
  page = _read(full)
  assert _sections(page) == [
    'decision',
    'results',
    'confusion',
    'scores',
    'reliability',
    'curves',
    'generated',
    'mistakes',
    'rivals',
    'data',
    'repeat',
  ]
  assert re.findall(r'href="#(\w+)"', page) == _sections(page)


def test_what_a_user_named_is_text_and_never_markup(full):
  page = _read(full)
  assert '<script' not in page
  assert '<i>' not in page
  assert '<u>' not in page
  assert html.escape(CLASSES[0]).replace('&quot;', '&#34;') in page


def test_names_that_are_not_utf_8_and_infinite_thresholds(tmp_path):
  summary = _make_summary()
  summary['classes']['minority'] = os.fsdecode(b'b\xe4d')
  summary['decision']['thresholds'] = ['-inf', 'inf']
  _write_run(tmp_path, summary, {'method': 'plda'})
  _write_scores(tmp_path)
  page = html_report.write(tmp_path, _find_mistakes()).read_text()
  assert r'b\udce4d' in page
  assert 'threshold -infinity, infinity' in page


def test_nothing_comes_from_elsewhere(full):
  page = _read(full)
  sources = re.findall(r'(?:src|href)="([^"]*)"', page)
  assert all(source.startswith(('data:', '#')) for source in sources)
  assert 'url(' not in page
  assert '@import' not in page


def test_every_image_says_what_it_shows(full):
  images = re.findall(r'<img[^>]*>', _read(full))
  assert len(images) == 6 + len(_find_mistakes())
  assert all(re.search(r'alt="[^"]{10,}"', image) for image in images)


def test_results_carry_their_protocols(full):
  summary = json.loads((full / workdir.SUMMARY).read_text())
  page = html.unescape(_read(full))
  honest, paper = summary['protocols']['honest'], summary['protocols']['paper']
  row = re.search(r'<tr><th scope="row">F1</th>(.*?)</tr>', page).group(1)
  assert re.findall(r'<td>([\d.]+)', row) == [
    f'{value:.3f}'
    for value in (
      summary['decision']['metrics']['f1']['mean'],
      honest['metrics']['f1']['mean'],
      paper['metrics']['f1']['mean'],
      constant_predictor_floor(15, 25)['f1'],
    )
  ]
  head = page[: page.index(row)]
  for label in (honest['label'], paper['label'], summary['decision']['label']):
    assert label.split(': ', 1)[1] in head


def test_confusion_matrix_counts_folds_at_their_own_thresholds(full):
  page = _read(full)
  counts = re.findall(r'--share: ([\d.]+)"><b>([\d.]+)</b>', page)
  called = _scores() < np.array(THRESHOLDS)[:, None]
  expected = [
    called[:, IS_MINORITY].mean(0).sum(),
    (~called[:, IS_MINORITY]).mean(0).sum(),
    called[:, ~IS_MINORITY].mean(0).sum(),
    (~called[:, ~IS_MINORITY]).mean(0).sum(),
  ]
  np.testing.assert_allclose([float(count) for _, count in counts], expected, atol=0.05)


def test_the_rivals_table_marks_the_one_to_deploy(full):
  page = _read(full)
  (row,) = re.findall(r'<tr class="chosen"><th scope="row">(\w+)', page)
  assert row == 'plda'


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'data_dir': "/a b'c", 'minority_class': 'the rare, $one', 'majority_class': '07'},
    {'minority_class': '', 'majority_class': '', 'strict': True, 'prior': 0.002},
    {'minority_class': '1e3', 'majority_class': 'None'},
    {'minority_class': 'true', 'majority_class': "'quoted'"},
    {
      'learning_rate': 3e-5,
      'num_minority': 2,
      'stop_at_nash': True,
      'dropout_rate': 0.0,
    },
  ],
)
# ml_collections loads config files this way.
@pytest.mark.filterwarnings('ignore:the load_module')
def test_the_command_makes_the_same_config(changes, tmp_path, monkeypatch):
  config = {**egan_config.default().to_dict(), **changes}
  _write_run(tmp_path, _make_summary(), {**config, 'num_folds': 5})
  command = report_sections.make_command(finished_run.read(tmp_path))
  python, module, name, *arguments = shlex.split(command)
  assert (python, module, name) == ('python', '-m', 'egan_jax.main')
  values = flags.FlagValues()
  flags.DEFINE_string('workdir', None, '', flag_values=values)
  holder = config_flags.DEFINE_config_file('config', flag_values=values)
  argv = ['main', *(a.replace('configs/cifar10.py', str(CONFIG)) for a in arguments)]
  monkeypatch.setattr('sys.argv', argv)  # ml_collections looks for fields there
  values(argv)
  assert holder.value.to_dict() == config


def test_a_run_without_epochs_and_test_images_is_short(tmp_path):
  summary = _make_summary()
  summary['decision']['metrics'] = None
  summary['rivals'] = []
  summary['data'] = None
  report.write_scores(
    tmp_path / workdir.SCORES, np.zeros((2, 0)), np.zeros(0, bool), np.zeros(0)
  )
  _write_run(tmp_path, summary)
  html_report.write(tmp_path)
  assert _sections(_read(tmp_path)) == ['decision', 'repeat']


def test_a_floor_stands_beside_results_at_another_prior(tmp_path):
  _write_scores(tmp_path)
  summary = _make_summary()
  summary['decision'] |= {'prior': 0.01, 'metrics_at_prior': _evaluate(0.01)}
  columns = report_results.read_protocols(
    finished_run.read(_write_run(tmp_path, summary))
  )
  floor = columns['always minority at prior 0.01']['metrics']
  assert floor['f1']['mean'] == pytest.approx(
    constant_predictor_floor(1, 1, 0.01)['f1']
  )
  assert floor['brier']['mean'] == pytest.approx(0.01 * 0.99)
  assert [*columns][-1] == 'always minority'


def test_a_verdict_compares_figures_of_one_world(tmp_path):
  """The game's decision is its honest column; what stands at a prior is no verdict."""
  _write_scores(tmp_path)
  summary = _make_summary()
  f1 = {'f1': {'mean': 0.9, 'std': 0.0, 'min': 0.9, 'max': 0.9}}
  honest = {'label': 'honest: x', 'metrics': {**_evaluate(), **f1}}
  summary['protocols'] = {'honest': {**honest, 'selected_on_test_labels': False}}
  summary['decision'] |= {'method': 'egan', 'threshold_rule': 'zero', 'prior': 0.01}
  summary['decision']['metrics_at_prior'] = _evaluate(0.01)
  run = finished_run.read(_write_run(tmp_path, summary))
  columns = [column['name'] for column in report_results.make_columns(run)]
  assert columns[0] == 'honest' and 'decision at prior 0.01' in columns
  assert 'Every fold beats' in report_results.make_verdict(run)


def test_a_summary_can_be_given_before_it_is_written(tmp_path):
  _write_scores(tmp_path)
  _write_run(tmp_path, _make_summary())
  (tmp_path / workdir.SUMMARY).unlink()
  html_report.write(tmp_path, summary=_make_summary())
  assert 'it was better' in _read(tmp_path).lower()


@pytest.mark.parametrize('missing', [workdir.CONFIG, workdir.SUMMARY])
def test_an_unfinished_run_keeps_its_page(missing, tmp_path):
  _write_scores(tmp_path)
  _write_run(tmp_path, _make_summary())
  html_report.write(tmp_path)
  before = _read(tmp_path)
  (tmp_path / missing).unlink()
  with pytest.raises(UserError) as error:
    html_report.write(tmp_path)
  assert '\n' not in str(error.value)
  assert _read(tmp_path) == before


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    (workdir.CONFIG, b'{"x"\n1'),
    (workdir.SCORES, b'{"x"\n1'),
    (workdir.SCORES, b''),
    (workdir.METRICS, b'{"x"\n1'),
  ],
)
def test_a_damaged_file_is_one_line(name, content, tmp_path):
  _write_run(tmp_path, _make_summary())
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match=name) as error:
    html_report.write(tmp_path)
  assert '\n' not in str(error.value)


def test_the_verdict_follows_the_floor(tmp_path):
  _write_scores(tmp_path)
  floor = constant_predictor_floor(15, 25)['f1']
  summary = _make_summary()
  for mean, worst, says in [
    (floor, floor, 'does not beat'),
    (floor + 0.1, floor - 0.1, 'worst fold does not'),
    (floor + 0.1, floor + 0.05, 'Every fold beats'),
  ]:
    measured = {'mean': mean, 'worst': worst, 'std': 0.1}
    summary['decision']['metrics'] = {**_evaluate(), 'f1': measured}
    _write_run(tmp_path, summary)
    html_report.write(tmp_path)
    assert says in _read(tmp_path)


@pytest.fixture(scope='module')
def browser():
  if CHROMIUM is None:
    pytest.skip('there is no chromium on the PATH')
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=CHROMIUM,
      args=[
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    )
    yield browser
    browser.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('scripts', [True, False])
@pytest.mark.parametrize('width', [360, 1280])
def test_in_a_browser(browser, full, width, scripts, scheme, tmp_path):
  context = browser.new_context(
    viewport={'width': width, 'height': 740},
    java_script_enabled=scripts,
    color_scheme=scheme,
  )
  page = context.new_page()
  complaints, requests = [], []
  page.on('console', lambda message: complaints.append(message.text))
  page.on('pageerror', lambda error: complaints.append(str(error)))
  page.on('requestfailed', lambda request: complaints.append(request.url))
  page.on('request', lambda request: requests.append(request.url))
  # Alone in a folder: it needs none of its neighbours.
  url = Path(shutil.copy(full / workdir.REPORT, tmp_path)).as_uri()
  page.goto(url)
  page.wait_for_load_state('networkidle')

  assert not complaints
  assert [request for request in requests if not request.startswith('data:')] == [url]
  assert page.inner_text('h1') == f'{CLASSES[0]} or {CLASSES[1]}'
  widths = page.eval_on_selector_all('img', 'all => all.map(i => i.naturalWidth)')
  assert len(widths) > 6
  assert min(widths) > 0
  for image in page.query_selector_all('img'):
    assert image.bounding_box()['width'] > 0
  wide = 'document.documentElement.scrollWidth'
  assert page.evaluate(wide) <= width
  background = page.evaluate('getComputedStyle(document.body).backgroundColor')
  is_dark = max(map(int, re.findall(r'\d+', background))) < 128
  assert is_dark == (scheme == 'dark')
  context.close()
