"""Finished runs side by side: `python -m egan_jax.compare RUN RUN ... [--output=DIR]`.

Prints what each run was, what it scored under each protocol and the config fields in
which they differ; with --output writes compare.md and compare.png.
"""

import html
import os
from collections.abc import Sequence
from pathlib import Path

from egan_jax import command_line, run_files
from egan_jax.errors import UserError
from egan_jax.reporting import finished_run, plotting, tables
from egan_jax.reporting.finished_run import (
  FinishedRun,
  format_score,
  name_metric,
)
from egan_jax.reporting.plotting import GREEN, INK, MINORITY, MUTED
from egan_jax.reporting.report_results import read_protocols

MARKDOWN = 'compare.md'
FIGURE = 'compare.png'

_SHOWN = {
  **dict.fromkeys(
    ('decision', 'decision (oracle)'), ('f1', 'recall', 'specificity', 'auroc')
  ),
  'honest': ('f1', 'auroc'),
  'last epoch (oracle)': ('f1', 'auroc'),
  'paper (oracle)': ('f1', 'auroc'),
  'always minority': ('f1',),
}
_NONE = '-'

Rows = list[list[str]]


def read_runs(folders: Sequence[str | os.PathLike]) -> list[FinishedRun]:
  """The runs of some workdirs.

  Raises:
    UserError: no folder, the same twice, or one that holds no finished run.
  """
  if not folders:
    raise UserError('no run is given: name the workdirs to compare')
  resolved = [os.path.realpath(folder) for folder in folders]
  for number, folder in enumerate(resolved):
    if folder in resolved[:number]:
      raise UserError(f'{folder} is given twice')
  return [finished_run.read(folder) for folder in folders]


def tabulate(runs: Sequence[FinishedRun]) -> Rows:
  """A header of the runs' names and a row per fact or result; '-' where it has none.

  Rows that all runs have nothing for are left out.
  """
  columns = [_describe(run) for run in runs]
  titles = [
    title for title in columns[0] if any(column[title] != _NONE for column in columns)
  ]
  rows = [[title, *(column[title] for column in columns)] for title in titles]
  return [['', *name_runs(runs)], *rows]


def find_differences(runs: Sequence[FinishedRun]) -> Rows:
  """A header and a row per config field that is not the same in all runs."""
  fields = sorted({field for run in runs for field in run.config})
  rows = [
    [f'config.{field}', *(_show(run.config.get(field, _NONE)) for run in runs)]
    for field in fields
  ]
  return [['', *name_runs(runs)], *(row for row in rows if len({*row[1:]}) > 1)]


def name_runs(runs: Sequence[FinishedRun]) -> list[str]:
  """The folders' last names or, where two are alike, their paths."""
  paths = [run.folder.resolve() for run in runs]
  names = [path.name for path in paths]
  return names if len({*names}) == len(names) else [str(path) for path in paths]


def to_markdown(rows: Rows) -> str:
  """A table in Markdown, whatever is written in its cells."""
  return tables.to_markdown(
    [
      [html.escape(cell, quote=False).replace('|', '\\|') for cell in row]
      for row in rows
    ]
  )


def draw(runs: Sequence[FinishedRun], path: str | os.PathLike) -> None:
  """F1 and AUROC of every run, a row each, with a line to the worst fold.

  The line goes on to the best fold where the run tells it. A ring is the paper's F1,
  an oracle's; a bar the F1 of "always minority".
  """
  axes = plotting.new_axes(
    'Runs side by side',
    'dot: mean over folds of the decision; line: to the worst fold\n'
    'ring: paper (oracle: epoch chosen on test labels); bar: always minority',
    size=(7.2, 1.8 + 0.62 * len(runs)),
  )
  scored = [(row, read_protocols(run)) for row, run in enumerate(runs)]
  scored = [(row, columns) for row, columns in scored if columns]
  for number, (row, columns) in enumerate(scored):
    own = next(iter(columns.values()))
    for metric, color, shift in (('f1', MINORITY, -0.13), ('auroc', GREEN, 0.13)):
      value = own['metrics'][metric]
      label = None if number else name_metric(metric)
      axes.plot(
        value['mean'], row + shift, 'o', color=color, ms=8, zorder=3, label=label
      )
      low, high = value.get('min', value.get('worst')), value.get('max', value['mean'])
      if low is not None:
        axes.hlines(row + shift, low, high, color=color, lw=2, alpha=0.5)
    floor = columns['always minority']['metrics']['f1']['mean']
    axes.plot(floor, row - 0.13, '|', color=MUTED, ms=13, mew=2)
    if 'paper (oracle)' in columns:
      best = columns['paper (oracle)']['metrics']['f1']['mean']
      axes.plot(best, row - 0.13, 'o', color=MINORITY, mfc='none', ms=10, mew=1.6)
  axes.set_yticks(range(len(runs)), [plotting.escape(name) for name in name_runs(runs)])
  axes.set_ylim(len(runs) - 0.5, -0.5)
  axes.set_xlim(-0.02, 1.02)
  axes.grid(axis='y', visible=False)
  axes.grid(axis='x', color=plotting.RULE, linewidth=0.8)
  axes.set_xlabel('on the test set', color=INK)
  if scored:
    plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)


def write(runs: Sequence[FinishedRun], folder: str | os.PathLike) -> None:
  """Writes compare.md and compare.png.

  Raises:
    UserError: the folder cannot be written to.
  """
  folder = Path(folder)
  parts = ['# Runs side by side', to_markdown(tabulate(runs)), f'![]({FIGURE})']
  differences = find_differences(runs)
  if len(differences) > 1:
    parts += ['## Where their configs differ', to_markdown(differences)]
  try:
    run_files.write_text(folder / MARKDOWN, '\n\n'.join(parts) + '\n')
    draw(runs, folder / FIGURE)
  except OSError as error:
    raise UserError(f'cannot write to {folder}: {error.strerror}') from error


def _describe(run: FinishedRun) -> dict[str, str]:
  """What stands in a run's column, by the title of the row."""
  counts, summary = run.counts, run.summary
  minority, majority = run.class_names
  test = f'{counts.test_minority} + {counts.test_majority}'
  described = {
    'method': run.method,
    'data': f'{run.config["dataset"]}: {minority} / {majority}',
    'training images': f'{counts.folds} x {counts.minority} / {counts.majority}',
    'test images': test if counts.test_minority + counts.test_majority else _NONE,
    'threshold': _describe_thresholds(summary['decision']),
  }
  columns = read_protocols(run)
  for protocol, metrics in _SHOWN.items():
    numbers = columns.get(protocol, {'metrics': {}})['metrics']
    for metric in metrics:
      described[f'{name_metric(metric)}, {protocol}'] = _show_metric(
        numbers.get(metric)
      )
  described['seconds'] = f'{sum(summary["seconds"].values()):.0f}'
  return described


def _describe_thresholds(decision: dict) -> str:
  """The rule and the thresholds of the folds, or their range."""
  values = sorted(map(float, decision['thresholds']))
  ends = list(dict.fromkeys(map(format_score, (values[0], values[-1]))))
  return f'{decision["threshold_rule"]}: {" to ".join(ends)}'


def _show_metric(value: dict | None) -> str:
  if value is None or value.get('mean') is None:
    return _NONE
  spread = '' if value.get('std') is None else f' ± {value["std"]:.3f}'
  epoch = '' if value.get('epoch') is None else f' at epoch {value["epoch"]}'
  return f'{value["mean"]:.3f}{spread}{epoch}'


def _show(value: object) -> str:
  return "''" if value == '' else str(value)


def run_command() -> None:
  """The command; its flag is defined here, not in whoever imports this module."""
  output = command_line.define_path('output', 'Folder for compare.md and compare.png.')

  def main(folders: list[str]) -> None:
    runs = read_runs(folders)
    print(tables.align(tabulate(runs)))
    differences = find_differences(runs)
    if len(differences) > 1:
      print(f'\n{tables.align(differences)}')
    if output.value:
      write(runs, output.value)
      print(f'\n{Path(output.value) / MARKDOWN}\n{Path(output.value) / FIGURE}')

  command_line.run(main, required=(), takes_arguments=True)


if __name__ == '__main__':
  run_command()
