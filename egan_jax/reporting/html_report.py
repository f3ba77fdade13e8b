"""The run report: one static page that holds everything it shows.

`write(folder)` reads a workdir and writes report.html into it. Images are data URIs
and styles are inline; there is no script, and the page's own policy forbids it to ask
the network for anything. Class and file names are a user's: the template escapes all.
"""

import base64
import functools
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from egan_jax import run_files, workdir
from egan_jax.reporting import (
  decision_figures,
  finished_run,
  report_results,
  report_sections,
)
from egan_jax.reporting.finished_run import FinishedRun, format_score

_THUMBNAIL_SIZE = 160
_PIXELATED_BELOW = 64
_CURVES = {
  'precision_recall_f1.png': 'Precision, recall and F1 of the minority per epoch',
  'correct_counts.png': 'Correctly classified test images of each class per epoch',
  'losses.png': 'Generator and discriminator loss per epoch',
}
_TITLES = {
  'decision': 'Decision',
  'results': 'Results',
  'matrices': 'Confusion',
  'scores': 'Scores',
  'reliability': 'Reliability',
  'curves': 'Epochs',
  'generated': 'Generated',
  'mistakes': 'Mistakes',
  'rivals': 'Rivals',
  'data': 'Data',
}
_IDS = {'matrices': 'confusion'}  # where a section's id is another


def write(
  folder: Path,
  mistakes: Sequence[Mapping] | None = None,
  summary: dict | None = None,
) -> Path:
  """Writes report.html into the workdir of a finished run, whole or not at all.

  Args:
    folder: the workdir.
    mistakes: as of `mistakes.find`: dicts of `image` uint8 `[H, W, 3]`, `name`,
      `truth` ('minority' or 'majority') and `score`; and `evidence`, sentences, where
      there is some. Without them the section is left out.
    summary: what summary.json will hold, of a run that writes it last.

  Returns:
    The path of the page.

  Raises:
    UserError: there is no run in the folder, it is not finished, or it is damaged.
  """
  run = finished_run.read(folder, summary)
  path = run.folder / workdir.REPORT
  run_files.write_text(path, render(run, mistakes))
  return path


def render(run: FinishedRun, mistakes: Sequence[Mapping] | None = None) -> str:
  """The page as HTML; arguments as of `write`."""
  minority, majority = run.class_names
  thresholds, label = _find_thresholds(run)
  sections = {
    'decision': report_sections.make_decision(run),
    'results': report_results.make_results(run),
    'matrices': _make_matrices(run, thresholds, label),
    'scores': _draw_scores(run, thresholds, label),
    'reliability': _draw_reliability(run),
    'curves': _read_curves(run.folder / workdir.FIGURES),
    'generated': _read_figure(
      run.folder / workdir.FIGURES / 'generated_images.png',
      f'Images of {minority} and what the generator made of them',
    ),
    'mistakes': [_show_mistake(run, item) for item in mistakes or ()],
    'rivals': report_sections.make_rivals(run),
    'data': report_sections.make_data(run),
  }
  return _template().render(
    **sections,
    title=f'{minority} or {majority}: {report_results.name_method(run.method)}',
    minority=minority,
    majority=majority,
    sentence=report_results.describe_training(run),
    tiles=report_results.make_tiles(run),
    verdict=report_results.make_verdict(run),
    sections=[
      {'id': _IDS.get(name, name), 'title': title}
      for name, title in _TITLES.items()
      if sections[name]
    ]
    + [{'id': 'repeat', 'title': 'Repeat'}],
    command=report_sections.make_command(run),
    config=sorted(run.config.items()),
    environment=report_sections.make_environment(run),
    version=run.summary['environment']['versions']['egan_jax'],
  )


@functools.cache
def _template() -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('egan_jax.reporting'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  return environment.get_template('report.html')


def _find_thresholds(run: FinishedRun) -> tuple[list[float], str]:
  """The threshold of every fold, and the protocol they fall under."""
  decision = run.summary['decision']
  return [*map(float, decision['thresholds'])], decision['label']


def _has_both_classes(run: FinishedRun) -> bool:
  return bool(run.counts.test_minority and run.counts.test_majority)


def _make_matrices(
  run: FinishedRun, thresholds: Sequence[float], label: str
) -> list[dict]:
  """The confusion matrix at the thresholds and, where they differ, at 0."""
  if not _has_both_classes(run):
    return []
  matrices = [_make_matrix(run, thresholds, label)]
  at_zero = run.method == 'egan' and any(thresholds)
  if at_zero:
    matrices.append(
      _make_matrix(run, [0.0] * len(thresholds), "the paper's threshold 0")
    )
  return matrices


def _make_matrix(run: FinishedRun, thresholds: Sequence[float], label: str) -> dict:
  called_minority = run.scores < np.asarray(thresholds)[:, None]
  rows = []
  for row, (name, of_class) in enumerate(
    zip(run.class_names, (run.is_minority, ~run.is_minority), strict=True)
  ):
    share = float(called_minority[:, of_class].mean())
    cells = [
      {
        'count': f'{part * of_class.sum():.1f}'.removesuffix('.0'),
        'percent': f'{part:.1%}',
        'share': f'{part:.3f}',
        'right': row == column,
      }
      for column, part in enumerate((share, 1 - share))
    ]
    rows.append({'name': f'is {name}', 'cells': cells})
  folds = len(thresholds)
  over = 'one fold' if folds == 1 else f'mean of {folds} folds'
  return {'caption': f'{label}; {over}', 'rows': rows}


def _draw_scores(
  run: FinishedRun, thresholds: Sequence[float], label: str
) -> dict | None:
  if not _has_both_classes(run):
    return None
  minority, majority = run.class_names
  draw = functools.partial(
    decision_figures.draw_score_histogram,
    run.scores,
    run.is_minority,
    thresholds,
    label=label,
  )
  values = ', '.join(format_score(value) for value in sorted(set(thresholds)))
  alt = f'Histogram of the scores of {minority} and {majority}; threshold {values}'
  return _draw(draw, alt)


def _draw_reliability(run: FinishedRun) -> dict | None:
  """The diagram of the first fold, whose model is kept, at the test set's prior."""
  calibration = report_sections.read_calibration(run)
  if calibration is None or not _has_both_classes(run):
    return None
  share = float(run.is_minority.mean())
  draw = functools.partial(
    decision_figures.draw_reliability,
    calibration.probabilities(run.scores[0], share),
    run.is_minority,
    label='fitted on training images, judged on test images',
  )
  return {
    'note': (
      f'P(minority) of the first fold, where {share:.1%} of images are of'
      f' {run.class_names[0]}, as in the test set. {calibration.promise.capitalize()}.'
    ),
    'figure': _draw(draw, 'Reliability diagram: observed share against P(minority)'),
  }


def _read_curves(folder: Path) -> list[dict]:
  figures = (_read_figure(folder / name, alt) for name, alt in _CURVES.items())
  return [figure for figure in figures if figure]


def _read_figure(path: Path, alt: str) -> dict | None:
  return _embed(path.read_bytes(), alt) if path.is_file() else None


def _draw(draw: Callable[[Path], None], alt: str) -> dict:
  """A figure that is drawn for the page alone."""
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / 'figure.png'
    draw(path)
    return _embed(path.read_bytes(), alt)


def _embed(png: bytes, alt: str) -> dict:
  """What the template needs of an image."""
  with Image.open(io.BytesIO(png)) as image:
    width, height = image.size
  source = 'data:image/png;base64,' + base64.b64encode(png).decode()
  return {'source': source, 'alt': alt, 'width': width, 'height': height}


def _show_mistake(run: FinishedRun, mistake: Mapping) -> dict:
  minority, majority = run.class_names
  is_minority = mistake['truth'] == 'minority'
  truth, called = (minority, majority) if is_minority else (majority, minority)
  image = Image.fromarray(np.asarray(mistake['image'], np.uint8))
  small = max(image.size) < _PIXELATED_BELOW
  image.thumbnail((_THUMBNAIL_SIZE, _THUMBNAIL_SIZE))
  buffer = io.BytesIO()
  image.save(buffer, 'PNG')
  return {
    **_embed(buffer.getvalue(), f'{mistake["name"]}: {truth}, called {called}'),
    'truth': truth,
    'called': called,
    'score': format_score(mistake['score']),
    'name': mistake['name'],
    'evidence': mistake.get('evidence', []),
    'is_small': small,
  }
