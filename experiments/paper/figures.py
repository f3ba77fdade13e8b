"""The paper's Figs. 2, 4 and 5 from stored curves, beside the authors' own."""

import dataclasses
from pathlib import Path

from configs import no_pretraining
from egan_jax import train, workdir
from egan_jax.reporting import run_files
from experiments.paper import paper_figures, plots, runs, summaries, table_rows

RATIOS = ('2500', '1000', '500', '50', '1')
HEADS = ('sigmoid', 'linear')
_BACKBONE = 'EfficientNetLite0'


@dataclasses.dataclass(frozen=True)
class Figure:
  """One figure of the paper, regenerated.

  Attributes:
    number: in the paper.
    title: what it shows.
    panels: by name, curves by name, a value per epoch; none where not measured.
    axes: by panel, the name of the values.
    notes: what a reader must know beside it.
  """

  number: int
  title: str
  panels: dict[str, dict[str, list[float]]]
  axes: dict[str, str]
  notes: list[str]


def losses(cells: dict[str, dict]) -> Figure:
  """Fig. 2: the losses of both players."""
  curves, notes = {}, []
  for cell in _played(cells)[:1]:
    run = next(iter(cell['runs'].values()))
    curves = {
      name: run['curves'][f'{name}_loss'] for name in ('generator', 'discriminator')
    }
    notes.append(
      f'{table_rows.describe_setting(cell)}, 1:{cell["ratio"]}, mean of folds'
    )
  return Figure(
    2,
    'Discriminator and generator loss',
    {'losses': curves},
    {'losses': 'binary cross-entropy'},
    notes,
  )


def imbalance(cells: dict[str, dict]) -> Figure:
  """Fig. 4: precision, recall, F1 by ratio, and correct images of both classes."""
  panels = {name: {} for name in ('precision', 'recall', 'f1', 'correct', 'authors')}
  notes = []
  for cell in _played(cells):
    seed, run = next(iter(cell['runs'].items()))
    for name in ('precision', 'recall', 'f1'):
      panels[name][f'1:{cell["ratio"]}'] = run['curves'][name]
    notes.append(f'1:{cell["ratio"]}: {table_rows.describe_setting(cell)}, seed {seed}')
  for cell in (_played(cells, '1000') or _played(cells))[:1]:
    curves = next(iter(cell['runs'].values()))['curves']
    total = summaries.count_test_images(cell)[0]
    for kind in ('minority', 'majority'):
      name = f'{kind}, 1:{cell["ratio"]}, mean of folds'
      panels['correct'][name] = [value / total for value in curves[f'{kind}_correct']]
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
    [
      "The authors' curve is one run with DenseNet121, stored in their public notebooks;"
      ' ours are means over five folds, which look smoother than any of them.',
      *notes,
    ],
  )


def no_pretraining_counts(stored: dict) -> Figure:
  """Fig. 5: the discriminator without pre-training, CIFAR-100 at 1:50.

  Args:
    stored: `measure_no_pretraining`'s.
  """
  panels = {}
  for head in HEADS:
    run = stored.get(head)
    panels[head] = {
      kind: [value / 100 for value in run['curves'][f'{kind}_correct']]
      for kind in ('minority', 'majority')
      if run
    }
  return Figure(
    5,
    'Without a pre-trained discriminator, CIFAR-100 at 1:50',
    panels,
    dict.fromkeys(HEADS, 'share of the class that is correct'),
    [
      "sigmoid: the authors' head, whose score is never below 0, so that every image is"
      ' called majority whatever was learned (docs/sigmoid_head.md); linear: the same'
      f' with a logit. Generator {_BACKBONE}, means over five folds, seed 0.'
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
    run = folder / f'no_pretraining_discriminator_{head}_{_BACKBONE}_{num_epochs}_seed0'
    config = no_pretraining.get_config()
    config.data_dir = data_dir
    config.generator_backbone = _BACKBONE
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
      figure.title,
      curves,
      figure.axes[panel],
      2 / 3 if panel == 'f1' else None,
      None if panel == 'losses' else 1.02,
    )
    written.append(name)
  return written


def _played(cells: dict[str, dict], *ratios: str) -> list[dict]:
  """Cells of airplane / automobile at 32 px with a run, in the order of the ratios."""
  return [
    cell
    for ratio in ratios or RATIOS
    for cell in table_rows.of(cells, 'cifar10_0_1', ratio)
    if cell['runs'] and cell['image_size'] == 32 and cell['num_epochs'] > 1
  ]
