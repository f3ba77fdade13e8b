"""The paper's tables and figures, regenerated beside what was measured here.

  python -m experiments.tables --table=5 --data_dir=DATA_DIR --runs=DIR
  python -m experiments.tables --figure=4 --data_dir=DATA_DIR --runs=DIR
  python -m experiments.tables --all

A run whose workdir is finished in DIR is read, one that was stopped resumes, and one
that is missing is played (--noplay: left out). What was measured is added to
experiments/results/table_cells.json; each table and figure goes beside it as JSON,
Markdown and PNG. --all renders everything that is stored, and docs/results.md. What
could not be measured is named at the end, with exit status 1.

Figs. 2 and 4 draw one setting, whatever the flags say, and one seed: the first.

Table 6 is of CheXpert if DATA_DIR, a TFDS data folder, has it where TFDS wants it (see
`egan_jax.data.chexpert`), and else of the public chest X-rays, DATA_DIR being the folder
with their train/ and test/.
"""

from pathlib import Path

from absl import flags

from egan_jax import command_line
from egan_jax.errors import UserError
from experiments.paper import figures, paper_figures, rival_runs, store, writing
from experiments.paper.cells import BACKBONE, PAIRS, Cell, choose_chest_pair

_TABLE = flags.DEFINE_multi_integer('table', [], 'Of the paper: 1 to 6.')
_FIGURE = flags.DEFINE_multi_integer('figure', [], 'Of the paper: 2, 4 or 5.')
_ALL = flags.DEFINE_bool('all', False, 'Render what is stored; measure nothing.')
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', 'TFDS data folder; or for table 6 one with train/ and test/.'
)
_RUNS = flags.DEFINE_string('runs', None, 'Folder of the runs.')
_PLAY = flags.DEFINE_bool('play', True, 'Whether to play runs that are missing.')
_RIVALS = flags.DEFINE_enum('rivals', 'features', rival_runs.KINDS, 'Which to measure.')
_BACKBONE = flags.DEFINE_string('backbone', BACKBONE, 'Of both networks.')
_PAIRS = flags.DEFINE_list('pairs', [], 'Of table 5; by default those of the paper.')
_RATIOS = flags.DEFINE_list('ratios', [], 'By default all of the table.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Each a run of all folds.')
_IMAGE_SIZE = flags.DEFINE_integer('image_size', 32, 'In pixels.', lower_bound=1)
_PREPROCESS = flags.DEFINE_enum('preprocess', 'scale', ['scale', 'imagenet'], 'Input.')
_NUM_EPOCHS = flags.DEFINE_integer('num_epochs', 100, 'Of a game.', lower_bound=1)

_PAIRS_OF_TABLE = {
  1: ['cifar10_0_1'],
  2: ['cifar10_0_1'],
  3: ['cifar100_0_1'],
  4: [],
  5: ['cifar10_0_1', 'cifar100_0_1'],
  6: [],  # whichever is there
}
_RATIOS_OF_TABLE = {1: ['1000'], 2: ['2500'], 3: ['50'], 6: ['36']}


def list_cells(table: int) -> list[Cell]:
  """What the flags ask for of a table."""
  networks = [(_BACKBONE.value, _BACKBONE.value)]
  if table == 3:
    networks = [row[:2] for row in paper_figures.TABLE_3]
  pairs = _PAIRS_OF_TABLE[table]
  if table == 6:
    pairs = [choose_chest_pair(_DATA_DIR.value)]
  cells = []
  for pair in _PAIRS.value or pairs:
    if pair not in PAIRS:
      raise UserError(f'unknown pair {pair!r}: choose one of {", ".join(PAIRS)}')
    ratios = _RATIOS.value or _RATIOS_OF_TABLE.get(table) or PAIRS[pair].sizes
    cells += [
      Cell(
        pair, ratio, pairing, _IMAGE_SIZE.value, _PREPROCESS.value, _NUM_EPOCHS.value
      )
      for ratio in ratios
      for pairing in networks
    ]
  return cells


def measure(
  cells: list[Cell], seeds: list[int], rivals: str, runs: Path
) -> dict[str, str]:
  """Measures cells and stores each as soon as it is there.

  Returns:
    Why not, by the names of the runs that could not be measured.
  """
  failed = {}
  for cell in cells:
    measured = store.measure(cell, seeds, _DATA_DIR.value, runs, _PLAY.value, rivals)
    store.write_cells(store.merge(store.read_cells(), {cell.name: measured}))
    for seed, reason in measured['missing'].items():
      failed[cell.workdir_name(int(seed))] = reason
  return failed


def _measure_all(runs: Path) -> dict[str, str]:
  """All tables and figures that are asked for; as `measure`."""
  failed, seeds = {}, _parse_seeds()
  for table in _TABLE.value:
    rivals = 'none' if table == 3 else _RIVALS.value
    failed |= measure(list_cells(table), seeds, rivals, runs)
  for figure in _FIGURE.value:
    if figure != 5:
      failed |= measure(figures.list_cells(figure), seeds[:1], 'none', runs)
  if 5 in _FIGURE.value:
    try:
      measured = figures.measure_no_pretraining(
        _DATA_DIR.value, runs, _NUM_EPOCHS.value, _PLAY.value
      )
      writing.write_no_pretraining(measured)
    except UserError as error:
      failed['figure 5'] = str(error)
  return failed


def _parse_seeds() -> list[int]:
  seeds = _SEEDS.value
  if not seeds or not all(seed.isdecimal() and int(seed) < 2**32 for seed in seeds):
    raise UserError(f'--seeds={",".join(seeds)}: one or more, each in [0, 2**32)')
  return [*map(int, seeds)]


def main() -> None:
  """Measures what is asked for and renders it."""
  if not (_ALL.value or _TABLE.value or _FIGURE.value):
    raise UserError('say which: --table=5, --figure=4 or --all')
  if unknown := {*_TABLE.value} - {*_PAIRS_OF_TABLE} or {*_FIGURE.value} - {2, 4, 5}:
    raise UserError(
      f'no table or figure {unknown.pop()}: tables 1 to 6, figures 2, 4, 5'
    )
  failed = {}
  if _TABLE.value or _FIGURE.value:
    if not _RUNS.value:
      raise UserError('--runs is missing')
    failed = _measure_all(Path(_RUNS.value))
  tables = range(1, 7) if _ALL.value else _TABLE.value
  pictures = (2, 4, 5) if _ALL.value else _FIGURE.value
  for number in tables:
    print(writing.write_table(number))
  for number in pictures:
    print(writing.write_figure(number))
  if _ALL.value:
    writing.write_page()
  if failed:
    raise UserError(store.describe_failures(failed))


if __name__ == '__main__':
  command_line.run(main, required=())
