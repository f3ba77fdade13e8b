"""The paper's tables beside what was measured, as rows of text and values to draw."""

import dataclasses
from collections.abc import Callable

import numpy as np

from experiments.paper import paper_figures, rendering, summaries, table_rows
from experiments.paper.cells import PAIRS
from experiments.paper.table_rows import HEAD

PAPER = 'paper (oracle, {backbone})'

_PUBLISHED = {
  'cifar10_0_1': paper_figures.TABLE_5['cifar10'],
  'cifar100_0_1': paper_figures.TABLE_5['cifar100'],
}
_NOTES_ON_RATIOS = (
  'paper (oracle) and eGAN, paper protocol (oracle): each metric has its own best epoch'
  ' of the mean over five folds (one at 1:1 of CIFAR-100), chosen on test labels; ± over'
  ' seeds.',
  'Honest lines and rivals: mean ± standard deviation over games (folds of the seeds named'
  ' below), and the F1 of the worst game. The oracle has no Matthews correlation: it takes'
  ' precision and recall from different epochs.',
  'Each honest game decides at its own epoch, which may be better than any epoch is for'
  ' the mean over five folds: the honest line can stand above the oracle.',
  'The best rival is the one with the highest balanced accuracy on the test set, so it is'
  ' a pick on test labels too, out of as many as its line says: those that were measured'
  ' and have a threshold, compared on the draws that all of them have. The tables of rivals'
  ' below have all that were measured, and name those that were not.',
  'Rivals decide at the threshold that 95% of held-out majority images pass. At *1:1 no'
  ' majority image can be held out: there they decide at 0, as "(at 0)" says, or have no'
  ' threshold. What eGAN makes of the 95% at 1:500 stands under "Which epoch".',
  "The paper's 1:1 rows equal, to the digit, the maxima of one stored run each (CIFAR-10"
  ' fold 1, CIFAR-100), not means of five folds.',
  'Seconds of training are those of the last start where a run was stopped and resumed.',
)

_NOTE_ON_CHEXPERT = (
  'CheXpert takes a signed agreement. Where it is in `downloads/manual` of DATA_DIR, as'
  ' TFDS wants it, `--table=6` reads it there: a study is a sample, uncertain ones are'
  ' left out, and 1,000 studies of each class are the test, as in the paper. Rows of it'
  ' say "not measured" where it was not at hand.'
)
_NOTE_ON_CHEST_X_RAYS = (
  'The folders are the public chest X-rays of children (Kermany et al., CC BY 4.0),'
  ' pneumonia the minority as in the paper; their test set is not balanced, so "always'
  ' minority" has another F1 there.'
)

Cells = dict[str, dict]


@dataclasses.dataclass(frozen=True)
class Table:
  """One table of the paper, regenerated.

  Attributes:
    number: in the paper.
    title: in the paper's words.
    sections: by heading, the Markdown table's head and rows.
    notes: what a reader must know beside it.
    groups: for the picture, values by group and series; empty for none.
    axis: of the picture.
    floor: of the picture, None for none.
  """

  number: int
  title: str
  sections: dict[str, tuple[tuple[str, ...], list[list[str]]]]
  notes: list[str]
  groups: dict[str, dict[str, list[float]]]
  axis: str = ''
  floor: float | None = None


def confusion(number: int, cells: Cells) -> Table:
  """Tables 1 and 2: correct images of each class at one ratio of CIFAR-10."""
  paper = paper_figures.CONFUSION[number]
  (minority, _), (_, majority) = paper['counts']
  head = ('result', 'minority as minority', 'as majority', 'majority as minority')
  head = (*head, 'as majority')
  rows = [
    table_rows.count_row(
      f'paper: epoch {paper["epoch"]} of one run (oracle), DenseNet121',
      [minority],
      [majority],
      (1000, 1000),
    )
  ]
  groups = {'minority found': {}, 'majority found': {}}
  table_rows.add_counts(groups, 'paper (oracle)', [minority / 1000], [majority / 1000])
  sections, notes = {}, []
  for cell in table_rows.of(cells, 'cifar10_0_1', paper['ratio']):
    totals = summaries.count_test_images(cell)
    if totals is None:  # all there is of it is an estimate of its cost
      continue
    measured = table_rows.count_rows(cell, totals)
    sections[table_rows.describe_setting(cell)] = (
      head,
      rows
      + [
        table_rows.count_row(name, *counts, totals) for name, counts in measured.items()
      ],
    )
    notes.append(table_rows.describe_runs(cell))
    if not groups['minority found'].get(summaries.HONEST):
      for name, counts in measured.items():
        shares = [np.divide(c, t) for c, t in zip(counts, totals, strict=True)]
        table_rows.add_counts(groups, table_rows.shorten(name), *shares)
  if not sections:
    sections[''] = (head, [*rows, ['ours', *[rendering.NOT_MEASURED] * 4]])
  return Table(
    number,
    f'Confusion matrix of imbalance ratio 1:{paper["ratio"]}, CIFAR-10',
    sections,
    [
      'The paper shows one run at an epoch chosen on test labels. Of ours, the oracle'
      ' line is fold 0 of the first seed at the epoch of its best test F1; the others are means'
      ' over games.',
      *notes,
    ],
    groups,
    axis='share of the class in the test',
  )


def backbones(cells: Cells) -> Table:
  """Table 3: two different backbones on CIFAR-100 at 1:50."""
  rows, groups = [], {}
  for discriminator, generator, *values in paper_figures.TABLE_3:
    name = f'{discriminator} / {generator}'
    rows.append([name, 'paper (oracle)', *table_rows.published(values)])
    groups[name] = {'paper (oracle)': [values[2]]}
    measured = [
      cell
      for cell in table_rows.of(cells, 'cifar100_0_1', '50')
      if cell['backbones'] == [discriminator, generator]
    ]
    rows += table_rows.rows_of(measured[0] if measured else None, name)
    for cell in measured:
      groups[name] |= table_rows.values_to_draw(cell)
  return Table(
    3,
    'Combinations of pre-trained models, CIFAR-100 at 1:50',
    {'': (('discriminator / generator', *HEAD[1:]), rows)},
    [
      'The two name columns are probably swapped in the paper; its first row equals the'
      ' 1:1 cell of its Table 5 for CIFAR-100 and its fourth the 1:50 cell, which are'
      " DenseNet121's. Our rows need the ImageNet weights that Keras publishes, which"
      ' could not be downloaded where this was run; where they are in'
      ' `$EGAN_WEIGHTS_DIR`, `--table=3` runs them.',
    ],
    groups,
    'F1',
    2 / 3,
  )


def sizes(cells: Cells) -> Table:
  """Table 4: how many images each ratio trains on and is judged by."""
  rows = []
  for dataset, pair in (('cifar10', 'cifar10_0_1'), ('cifar100', 'cifar100_0_1')):
    for ratio, published in paper_figures.TABLE_4[dataset].items():
      minority, majority, folds = PAIRS[pair].sizes[ratio]
      measured = table_rows.of(cells, pair, ratio)
      totals = summaries.count_test_images(measured[0]) if measured else None
      tested = ' + '.join(map(str, totals)) if totals else rendering.NOT_MEASURED
      rows.append(
        [
          dataset,
          table_rows.name_ratio(ratio),
          f'{published[0]} + {published[1]}',
          f'{minority} + {majority} x {folds} folds',
          f'{published[2]} + {published[3]}',
          tested,
          table_rows.describe_cost(measured),
        ]
      )
  head = ('data set', 'ratio', 'training (paper)', 'training (ours)')
  head = (*head, 'test (paper)', 'test (ours)', 'training seconds of a seed')
  return Table(
    4,
    'CIFAR-10 and CIFAR-100 overview (minority + majority images)',
    {'': (head, rows)},
    [
      'Seconds are those of all folds of a seed at 32 px, on one core, most with other'
      ' work beside it.',
    ],
    {},
  )


def ratios(cells: Cells) -> Table:
  """Table 5: every ratio of CIFAR-10 and CIFAR-100."""
  sections, groups, notes = {}, {}, []
  for pair in ('cifar10_0_1', 'cifar10_2_3', 'cifar100_0_1'):
    for setting, by_ratio in table_rows.group(cells, pair):
      rows = []
      for ratio in PAIRS[pair].sizes:
        name = table_rows.name_ratio(ratio)
        published = _PUBLISHED.get(pair, {}).get(ratio)
        if published:
          paper = PAPER.format(backbone='DenseNet121, 32 px')
          rows.append([name, paper, *table_rows.published(published)])
        cell = by_ratio.get(ratio)
        rows += table_rows.rows_of(cell, name)
        if cell:
          classes = PAIRS[pair].title.split(' ', 1)[1]
          groups[f'{classes}\n{name}, {table_rows.name_setting(cell)}'] = {
            **({'paper (oracle)': [published[2]]} if published else {}),
            **table_rows.values_to_draw(cell),
          }
          notes.append(f'{name}: {table_rows.describe_runs(cell)}')
      sections[table_rows.describe_setting(setting)] = (HEAD, rows)
  return Table(
    5,
    'Maximum precision, recall and F1 at every imbalance ratio',
    sections,
    [*_NOTES_ON_RATIOS, *notes],
    groups,
    'F1',
    2 / 3,
  )


def chest(cells: Cells) -> Table:
  """Table 6: pneumonia, 30 against 1,080 images."""
  rows = [
    ['CheXpert', f'paper: {name} (oracle)', *table_rows.published(values)]
    for name, values in paper_figures.TABLE_6.items()
  ]
  groups, notes, floors = {}, [_NOTE_ON_CHEXPERT, _NOTE_ON_CHEST_X_RAYS], set()
  for pair, title in (('chexpert', 'CheXpert'), ('chest_xray', 'chest X-ray folders')):
    for setting, by_ratio in table_rows.group(cells, pair):
      where = f'{title}, {table_rows.name_setting(setting)}'
      cell = by_ratio.get('36')
      rows += table_rows.rows_of(cell, where)
      if not cell:
        continue
      if baseline := summaries.summarise_rivals(cell).get('fine_tuned'):
        name = "the paper's baseline (fine-tuned), honest threshold"
        rows.append([where, name, *table_rows.cells_of(baseline)])
      published = {'paper (oracle)': [paper_figures.TABLE_6['eGAN'][2]]}
      groups[where] = {
        **(published if pair == 'chexpert' else {}),  # it is of no other data set
        **table_rows.values_to_draw(cell),
      }
      notes.append(table_rows.describe_runs(cell))
      if totals := summaries.count_test_images(cell):
        floors.add(2 * totals[0] / (2 * totals[0] + totals[1]))
  return Table(
    6,
    'Pneumonia, 30 minority and 1,080 majority training images',
    {'': (('data', *HEAD[1:]), rows)},
    notes,
    groups,
    'F1',
    floors.pop() if len(floors) == 1 else None,  # several data sets have several
  )


TABLES: dict[int, Callable[[Cells], Table]] = {
  1: lambda cells: confusion(1, cells),
  2: lambda cells: confusion(2, cells),
  3: backbones,
  4: sizes,
  5: ratios,
  6: chest,
}


def rival_sections(cells: Cells) -> dict[str, tuple[tuple[str, ...], list[list[str]]]]:
  """All rivals of every cell: by setting, a row per ratio and rival or what is missing."""
  head = ('ratio', 'rival', *HEAD[2:], 'specificity', 'lowest specificity', 'draws')
  sections = {}
  for pair in PAIRS:
    for setting, by_ratio in table_rows.group(cells, pair):
      rows = []
      for ratio in PAIRS[pair].sizes:
        rows += table_rows.rival_rows(by_ratio.get(ratio), table_rows.name_ratio(ratio))
      sections[table_rows.describe_setting(setting)] = (head, rows)
  return sections
