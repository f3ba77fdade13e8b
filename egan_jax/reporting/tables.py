"""The result of a run as a short table, for the terminal and for Markdown."""

import textwrap

from egan_jax.evaluation.metrics import METRICS

_WIDTH = 80


def result_table(summary: dict) -> str:
  """The result as aligned plain text of at most 80 columns.

  Args:
    summary: as summary.json: `protocols.paper` and `protocols.honest` of
      `evaluation.protocols`, and `always_minority`, the
      `evaluation.metrics.constant_predictor_floor` of the test set.

  Returns:
    A row per metric, and one sentence that says what the columns are.
  """
  rows = _build_rows(summary)
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    '   '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    for row in rows
  ]
  lines.insert(1, '   '.join('-' * width for width in widths))
  reading = textwrap.fill(_explain_columns(summary), _WIDTH)
  return '\n'.join([*(line.rstrip() for line in lines), '', reading])


def result_markdown(summary: dict) -> str:
  """The table and the sentence of `result_table` in Markdown."""
  head, *rows = _build_rows(summary)
  lines = [head, ['---'] * len(head), *rows]
  table = [f'| {" | ".join(line)} |' for line in lines]
  return '\n'.join([*table, '', _explain_columns(summary)])


def _build_rows(summary: dict) -> list[list[str]]:
  """The header and a row of cells per metric."""
  paper, honest = summary['protocols']['paper'], summary['protocols']['honest']
  rows = [['metric', 'paper (oracle)', _name_last_epoch(honest), 'always minority']]
  for name in METRICS:
    best, last = paper['metrics'][name], honest['metrics'][name]
    spread = '' if last['std'] is None else f' ± {last["std"]:.3f}'
    rows.append(
      [
        {'f1': 'F1', 'auroc': 'AUROC'}.get(name, name.replace('_', ' ')),
        f'{best["mean"]:.3f} at epoch {best["epoch"]}',
        f'{last["mean"]:.3f}{spread}',
        f'{summary["always_minority"][name]:.3f}',
      ]
    )
  return rows


def _name_last_epoch(honest: dict) -> str:
  """The name of the last epoch's column: honest only if no test label chose it."""
  return 'last epoch (oracle)' if honest['selected_on_test_labels'] else 'honest'


def _explain_columns(summary: dict) -> str:
  """One sentence that names the protocols."""
  paper, honest = summary['protocols']['paper'], summary['protocols']['honest']
  folds = honest['num_folds']
  which = 'of the one fold' if folds == 1 else f'of the mean over {folds} folds'
  spread = '' if folds == 1 else ', mean ± standard deviation over folds'
  return (
    f'paper (oracle): per metric the maximum {which}, '
    f'{paper["label"].removeprefix("oracle: ")}; {_name_last_epoch(honest)}: '
    f'{honest["label"].split(": ", 1)[1]}{spread}.'
  )
