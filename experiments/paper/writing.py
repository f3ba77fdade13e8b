"""Writes tables and figures as JSON, Markdown and PNG, and docs/results.md."""

import dataclasses
import json
from pathlib import Path

from egan_jax import run_files
from egan_jax.reporting.tables import to_markdown
from experiments.epoch_rules import report as epoch_report
from experiments.few_images import tables as few_images_tables
from experiments.paper import (
  figures,
  paper_tables,
  plots,
  rendering,
  store,
  table_rows,
)

PAGE = Path(__file__).parents[2] / 'docs' / 'results.md'
_NO_PRETRAINING = 'figure5_runs.json'
_FIGURES = {2: figures.losses, 4: figures.imbalance}

_INTRODUCTION = """\
# Results

What the paper prints, what the same protocol gives here, what an honest one gives, and
what simpler methods reach on the same images. Favourable or not; what was not run says
so. How to read it: [reading_the_results.md](reading_the_results.md).

This page is made by one command from the stored measurements in
[experiments/results](../experiments/results):

```sh
python -m experiments.tables --all
```

Beside every number stands the command it was made with: DATA_DIR is a TFDS data
folder (for chest X-rays the folder with `train/` and `test/`), DIR a folder for runs.
A game is chaotic: another machine or JAX version gives other games, and means within
about the spread printed here. Seconds are those of a run's last session; runs on an NVIDIA
H200 shared it with up to eight others (how: [speed.md](speed.md#on-an-accelerator)). A commit
is "-dirty" where tracked files were changed, be they code, results or documents. A command
measures all seeds and rivals it names, also where the line beside it says that fewer were measured.
ImageNet weights are EfficientNetLite0's in both networks;
the paper's own DenseNet121 file could not be downloaded where this was run."""


_RULES = """*Last*: the last epoch. *After steps*: the first that ends after 20 updates. *Best fed*
(the default): the highest AUROC of the images that the game was fed with. *Best left out*: the
same of images of both classes that were held back. *Most stable*: held-back majority images are
ranked most like one epoch before. *Nearest false positive rate*: a cut at 0 calls nearest to 5 %
of the held-back majority images minority. *Running average*: the mean of the discriminator's
parameters over the epochs so far (0.9 of the old, 0.1 of the new) scores in its place."""
_FEW_IMAGES = """\
## A decision from one rare image

Mean F1 of 20 draws of `fusion` on frozen features, at the default threshold; both classes
count half, so that "always minority" scores 0.667. Of the last preset also the worst draw, and
the mean at the cut that is best on each draw's test labels, an oracle's. This is the product's
method, not the paper's game. How, with all rivals, intervals and commands:
[one_rare_image.md](one_rare_image.md)."""


def write_table(number: int, results: Path = store.RESULTS) -> str:
  """One table from the stored cells; its Markdown."""
  table = paper_tables.TABLES[number](store.read_cells(results))
  name = f'table{number}'
  run_files.write_json(results / f'{name}.json', dataclasses.asdict(table))
  drawn = {group: series for group, series in table.groups.items() if series}
  if drawn:
    plots.draw_dots(
      results / f'{name}.png',
      f'Table {number}',
      f'{table.title}\n± standard deviation over seeds (oracle) or games (the others)',
      drawn,
      table.axis,
      table.floor,
    )
  text = _render_table(table, f'{name}.png' if drawn else None)
  run_files.write_text(results / f'{name}.md', text + '\n')
  return text


def _render_table(table: paper_tables.Table, picture: str | None) -> str:
  parts = [f'## Table {table.number}: {table.title}']
  for heading, (head, rows) in table.sections.items():
    if heading:
      parts.append(f'**{heading}**')
    parts.append(to_markdown([head, *rows]))
  parts.append(_list(table.notes))
  if picture:
    parts.append(f'![Table {table.number}]({picture})')
  return '\n\n'.join(parts)


def write_no_pretraining(measured: dict, results: Path = store.RESULTS) -> None:
  """Keeps the runs of Fig. 5 that are there, the older ones of the others."""
  path = results / _NO_PRETRAINING
  run_files.write_json(path, {**_read(path), **measured})


def write_figure(number: int, results: Path = store.RESULTS) -> str:
  """One figure from the stored curves; its Markdown."""
  cells = store.read_cells(results)
  if number == 5:
    figure = figures.no_pretraining_counts(_read(results / _NO_PRETRAINING), cells)
  else:
    figure = _FIGURES[number](cells)
  run_files.write_json(results / f'figure{number}.json', dataclasses.asdict(figure))
  pictures = figures.draw(figure, results)
  parts = [f'## Fig. {number}: {figure.title}']
  parts += [f'![Fig. {number}]({picture})' for picture in pictures]
  if not pictures:
    parts.append(rendering.NOT_MEASURED)
  if figure.rows:
    parts.append(to_markdown([('games', *table_rows.HEAD[1:]), *figure.rows]))
  parts.append(_list(figure.notes))
  text = '\n\n'.join(parts)
  run_files.write_text(results / f'figure{number}.md', text + '\n')
  return text


def write_page(results: Path = store.RESULTS, page: Path = PAGE) -> None:
  """docs/results.md from everything that is stored."""
  parts = [_INTRODUCTION]
  for number in (5, 1, 2, 3, 4, 6):
    parts.append((results / f'table{number}.md').read_text().strip())
  parts.append('## All rivals')
  parts.append(
    'On the same draws, backbone, weights and input, each at the threshold that 95% of'
    ' held-out majority images pass; mean ± standard deviation over draws. The lowest'
    ' specificity on the test set shows where a rival did not keep those 95%. "(at 0)"'
    ' decides at 0 instead: "always minority" everywhere, and all at *1:1, where no'
    ' majority image can be held out. "Arbitrary": 0 means nothing among the scores of'
    ' that rival, so that only its AUROC and average precision do. Brier score and'
    " calibration error take P(minority), which is in a run's own report. Machine and commit"
    ' are in table_cells.json, but for the first that were measured.'
  )
  for heading, (head, rows) in paper_tables.rival_sections(
    store.read_cells(results)
  ).items():
    parts += [f'**{heading}**', to_markdown([head, *rows])]
  rules = results / f'{epoch_report.NAME}.md'
  if rules.exists():
    parts += ['## Which epoch', _RULES, rules.read_text().strip()]
  few = results / 'few_images.json'
  if few.exists():
    cells = few_images_tables.parse(_read(few))
    parts += [_FEW_IMAGES, few_images_tables.preset_table(cells).strip()]
  for number in (2, 4, 5):
    parts.append((results / f'figure{number}.md').read_text().strip())
  text = '\n\n'.join(parts).replace('](table', '](../experiments/results/table')
  text = text.replace('](figure', '](../experiments/results/figure')
  text = text.replace('](epoch_rules', '](../experiments/results/epoch_rules')
  run_files.write_text(page, text + '\n')


def _read(path: Path) -> dict:
  return json.loads(path.read_text()) if path.exists() else {}


def _list(notes: list[str]) -> str:
  return '\n'.join(f'- {note}' for note in notes)
