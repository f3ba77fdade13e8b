"""The paper's Figs. 2, 4 and 5 from stored curves, beside the authors' own."""

import dataclasses
from pathlib import Path

from configs import no_pretraining
from egan_jax import run_files, train, workdir
from experiments.paper import paper_figures, plots, runs, summaries, table_rows
from experiments.paper.cells import BACKBONE, FIVE_FOLDS, Cell

RATIOS = ('2500', '1000', '500', '50', '1')
HEADS = ('sigmoid', 'linear')
_COMMAND = 'python -m experiments.tables --figure={} --data_dir=DATA_DIR --runs=DIR'
_METRICS = ('precision', 'recall', 'f1')
_EXPLAIN_PEAKS = '\non test labels; a dot is what the paper protocol (oracle) takes'
_NOTE_ON_CURVES = 'The curves are read on test labels, after every epoch.'
_NOTE_ON_ROWS = (
  'The table has the same games under both protocols, and the best rival on their draws:'
  ' the lines of Table 5.'
)


@dataclasses.dataclass(frozen=True)
class Figure:
  """One figure of the paper, regenerated.

  Attributes:
    number: in the paper.
    title: what it shows.
    panels: by name, curves by name, a value per epoch; none where not measured.
    axes: by panel, the name of the values.
    rows: of the same games, the lines of Table 5.
    notes: what a reader must know beside it.
  """

  number: int
  title: str
  panels: dict[str, dict[str, list[float]]]
  axes: dict[str, str]
  rows: list[list[str]]
  notes: list[str]


def list_cells(figure: int) -> list[Cell]:
  """What Fig. 2 or 4 draws, a seed of each: all of one setting."""
  ratios = RATIOS if figure == 4 else RATIOS[:1]
  return [Cell('cifar10_0_1', ratio, (BACKBONE, BACKBONE)) for ratio in ratios]


def losses(cells: dict[str, dict]) -> Figure:
  """Fig. 2: the losses of both players."""
  curves, played = {}, _find_played(cells, 2)
  for _, _, run in played:
    curves = {
      name: run['curves'][f'{name}_loss'] for name in ('generator', 'discriminator')
    }
  return Figure(
    2,
    'Discriminator and generator loss',
    {'losses': curves},
    {'losses': 'binary cross-entropy'},
    _judge(played),
    ['Means of folds.', _NOTE_ON_ROWS, *_describe(2, played)],
  )


def imbalance(cells: dict[str, dict]) -> Figure:
  """Fig. 4: precision, recall, F1 by ratio, and correct images of both classes."""
  panels = {name: {} for name in (*_METRICS, 'correct', 'authors')}
  played = _find_played(cells, 4)
  for cell, _, run in played:
    for name in _METRICS:
      panels[name][f'1:{cell["ratio"]}'] = run['curves'][name]
  # The authors' curves are of 1:1000.
  for cell, _, run in ([p for p in played if p[0]['ratio'] == '1000'] or played)[:1]:
    total = summaries.count_test_images(cell)[0]
    for kind in ('minority', 'majority'):
      name = f'{kind}, 1:{cell["ratio"]}, mean of folds'
      panels['correct'][name] = [v / total for v in run['curves'][f'{kind}_correct']]
  authors = paper_figures.read_author_curves()['cifar10_1to1000_fold1']
  for kind in ('minority', 'majority'):
    name = f"{kind}, authors' stored run, 1:1000, fold 1"
    panels['authors'][name] = [v / authors['test_per_class'] for v in authors[kind]]
  share = 'share of the class that is correct'
  return Figure(
    4,
    'Test precision, recall, F1 and correct images per epoch, CIFAR-10',
    panels,
    {
      **{'precision': 'precision', 'recall': 'recall', 'f1': 'F1'},
      **{'correct': share, 'authors': share},
    },
    _judge(played),
    [
      f'{_NOTE_ON_CURVES} {_NOTE_ON_ROWS}',
      "The authors' curve is one run with DenseNet121, stored in their public notebooks;"
      ' ours are means over five folds, which look smoother than any of them.',
      *_describe(4, played),
    ],
  )


def no_pretraining_counts(stored: dict, cells: dict[str, dict]) -> Figure:
  """Fig. 5: the discriminator without pre-training, CIFAR-100 at 1:50.

  Args:
    stored: `measure_no_pretraining`'s.
    cells: for the rivals, on the same draws.
  """
  panels, rows, notes = {}, [], []
  same_draws = Cell('cifar100_0_1', '50', (BACKBONE, BACKBONE))
  rivals = cells.get(same_draws.name, {'rivals': {}})['rivals']
  for head in HEADS:
    run = stored.get(head)
    panels[head] = {
      kind: [value / 100 for value in run['curves'][f'{kind}_correct']]
      for kind in ('minority', 'majority')
      if run
    }
    if run:
      rows += _judge_run(run, '0', rivals, head)
      num_epochs = len(run['curves']['minority_correct'])
      notes.append(
        f'{head}: `{_COMMAND.format(5)} --num_epochs={num_epochs}`;'
        f' {table_rows.describe_played({"0": run}, FIVE_FOLDS)}'
      )
  return Figure(
    5,
    'Without a pre-trained discriminator, CIFAR-100 at 1:50',
    panels,
    dict.fromkeys(HEADS, 'share of the class that is correct'),
    rows,
    [
      f'{_NOTE_ON_CURVES} {_NOTE_ON_ROWS} Rivals have a pre-trained backbone.',
      "sigmoid: the authors' head, whose score is never below 0, so that every image is"
      ' called majority whatever was learned (docs/sigmoid_head.md); linear: the same'
      f' with a logit. Generator {BACKBONE}, means over five folds, seed 0.',
      *notes,
    ],
  )


def measure_no_pretraining(
  data_dir: str, folder: Path, num_epochs: int, play: bool
) -> dict:
  """Runs of both heads by name, as `runs.describe`; those that are there.

  Raises:
    UserError: data or weights are missing.
  """
  measured = {}
  for head in HEADS:
    run = folder / f'no_pretraining_discriminator_{head}_{BACKBONE}_{num_epochs}_seed0'
    config = no_pretraining.get_config()
    config.data_dir = data_dir
    config.generator_backbone = BACKBONE
    config.head_activation = head
    config.num_epochs = num_epochs
    if play and workdir.read_summary(run) is None:
      train.train_and_evaluate(config, str(run))
    if summary := workdir.read_summary(run):
      measured[head] = runs.describe(
        run_files.read_records(run / workdir.METRICS), summary
      )
  return measured


def draw(figure: Figure, results: Path) -> list[str]:
  """Writes a PNG per panel that was measured; their names."""
  written = []
  for panel, curves in figure.panels.items():
    if not curves:
      continue
    name = f'figure{figure.number}_{panel}.png'
    plots.draw_curves(
      results / name,
      f'Fig. {figure.number}, {panel}',
      f'{figure.title}{_EXPLAIN_PEAKS if panel in _METRICS else ""}',
      curves,
      figure.axes[panel],
      2 / 3 if panel == 'f1' else None,
      None if panel == 'losses' else 1.02,
      mark_highest=panel in _METRICS,
    )
    written.append(name)
  return written


def _find_played(cells: dict[str, dict], figure: int) -> list[tuple[dict, str, dict]]:
  """The cells of a figure that have a run, each with one seed and its run."""
  there = [cells[cell.name] for cell in list_cells(figure) if cell.name in cells]
  return [(cell, *next(iter(cell['runs'].items()))) for cell in there if cell['runs']]


def _judge(played: list[tuple[dict, str, dict]]) -> list[list[str]]:
  """The lines of all that is drawn, by ratio."""
  return [
    row
    for cell, seed, run in played
    for row in _judge_run(
      run, seed, cell['rivals'], table_rows.name_ratio(cell['ratio'])
    )
  ]


def _judge_run(run: dict, seed: str, rivals: dict, first: str) -> list[list[str]]:
  """The lines of a run and of the rivals, which are by seed, on its draws."""
  on_its_draws = {seed: rivals[seed]} if seed in rivals else {}
  return table_rows.rows_of({'runs': {seed: run}, 'rivals': on_its_draws}, first)


def _describe(figure: int, played: list[tuple[dict, str, dict]]) -> list[str]:
  """What makes the runs again; of each, what it is and what it took."""
  seeds = dict.fromkeys(seed for _, seed, _ in played)
  return [
    *(f'`{_COMMAND.format(figure)} --seeds={seed}`' for seed in seeds),
    *(
      f'1:{cell["ratio"]}: {table_rows.describe_setting(cell)};'
      f' {table_rows.describe_played({seed: run}, cell["sizes"][2])}'
      for cell, seed, run in played
    ),
  ]
