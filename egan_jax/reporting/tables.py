"""The result of a run as a short table; rows as text for the terminal and Markdown."""

import textwrap
from collections.abc import Callable, Sequence

from egan_jax.evaluation.metrics import METRICS, constant_predictor_floor
from egan_jax.reporting.finished_run import format_score, name_metric

_WIDTH = 80
_DECISION_METRICS = (
  *METRICS,
  'specificity',
  'matthews_correlation',
)


def run_text(summary: dict) -> str:
  """What to print of a run: the game's table if there is one, and the decision.

  At the threshold 0 a game's decision is the table's honest column, and if there is
  nothing to remark on it, all there is to say.
  """
  parts = [result_table(summary)] if 'protocols' in summary else []
  decision = summary['decision']
  if not parts or decision['notes'] or not is_honest_column(decision):
    parts.append(decision_text(summary))
  return '\n\n'.join(parts)


def is_honest_column(decision: dict) -> bool:
  """Whether a game's decision is at the threshold of its honest column."""
  return decision['method'] == 'egan' and decision['threshold_rule'] == 'zero'


def result_table(summary: dict) -> str:
  """The game's result as aligned plain text of at most 80 columns.

  Args:
    summary: as summary.json: `protocols.paper` and `protocols.honest` of
      `evaluation.protocols`, and `always_minority`, the
      `evaluation.metrics.constant_predictor_floor` of the test set.

  Returns:
    A row per metric, and one sentence that says what the columns are.
  """
  reading = textwrap.fill(_explain_columns(summary), _WIDTH)
  return f'{align(_build_rows(summary))}\n\n{reading}'


def decision_text(summary: dict) -> str:
  """The decision of a run, in words and as a table, of at most 80 columns.

  Args:
    summary: as summary.json: `decision` and, if the test set holds both classes,
      `always_minority`.
  """
  decision = summary['decision']
  cuts = list(map(format_score, decision['thresholds']))
  which = cuts[0] if len(set(cuts)) == 1 else f'{cuts[0]} (first of {len(cuts)} folds)'
  sentences = [
    f'{decision["why"]}.',
    f'Score below {which} means {summary["classes"]["minority"]}, anything else'
    f' {summary["classes"]["majority"]} ({decision["threshold_rule"]}). Promise:'
    f' {decision["promise"]}.',
    *(f'Note: {note}.' for note in decision['notes']),
  ]
  words = '\n'.join(textwrap.fill(sentence, _WIDTH) for sentence in sentences)
  if decision['metrics'] is None:
    return f'{words}\n\nNot measured: the test set does not hold both classes.'
  columns = _decision_columns(summary)
  rows = [['metric', *columns]]
  for name in _DECISION_METRICS:
    rows.append([name_metric(name), *(show(name) for show in columns.values())])
  label = f'{decision["label"]}.'
  if 'low' in decision['metrics']['recall']:
    label += ' In brackets 95% intervals over test images, where those are enough.'
  if decision.get('metrics_at_prior'):
    prior = decision['prior']
    floor = constant_predictor_floor(1, 1, prior)['f1']
    label += f' At prior {prior:g} the F1 of "always minority" is {floor:.3f}.'
  return f'{words}\n\n{align(rows)}\n\n{textwrap.fill(label, _WIDTH)}'


def _decision_columns(summary: dict) -> dict[str, Callable[[str], str]]:
  """By the name of the column what shows a metric there."""
  decision, floor = summary['decision'], summary['always_minority']
  columns = {'at the threshold': lambda name: _format_mean(decision['metrics'][name])}
  if len(decision['thresholds']) > 1:
    columns['worst'] = lambda name: f'{decision["metrics"][name]["worst"]:.3f}'
  columns['always minority'] = lambda name: f'{floor[name]:.3f}'
  if at_prior := decision.get('metrics_at_prior'):
    title = f'at prior {decision["prior"]:g}'
    columns[title] = lambda name: _format_mean(at_prior[name])
  return columns


def _format_mean(of_metric: dict) -> str:
  spread = '' if of_metric['std'] is None else f' ± {of_metric["std"]:.3f}'
  if 'low' in of_metric:
    spread = f' ({of_metric["low"]:.3f} to {of_metric["high"]:.3f})'
  return f'{of_metric["mean"]:.3f}{spread}'


def align(rows: Sequence[Sequence[str]]) -> str:
  """A table as aligned lines for a terminal, the first row underlined."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    '   '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    for row in rows
  ]
  lines.insert(1, '   '.join('-' * width for width in widths))
  return '\n'.join(line.rstrip() for line in lines)


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
  """A table in Markdown, the first row its header."""
  head, *body = rows
  lines = [head, ['---'] * len(head), *body]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _build_rows(summary: dict) -> list[list[str]]:
  """The header and a row of cells per metric."""
  paper, honest = summary['protocols']['paper'], summary['protocols']['honest']
  rows = [['metric', 'paper (oracle)', name_honest(honest), 'always minority']]
  for name in METRICS:
    best, decided = paper['metrics'][name], honest['metrics'][name]
    rows.append(
      [
        name_metric(name),
        f'{best["mean"]:.3f} at epoch {best["epoch"]}',
        _format_mean(decided),
        f'{summary["always_minority"][name]:.3f}',
      ]
    )
  return rows


def name_decision(decision: dict) -> str:
  """The name of the decision's column; if a test label chose its epoch, that is said."""
  is_oracle = decision['label'].startswith('oracle')
  return 'decision (oracle)' if is_oracle else 'decision'


def name_honest(honest: dict) -> str:
  """The name of the decision epoch's column: honest only if no test label chose it."""
  return 'last epoch (oracle)' if honest['selected_on_test_labels'] else 'honest'


def _describe_epochs(epochs: Sequence[int]) -> str:
  """'3', or '3 to 20' of folds that stopped at different ones."""
  return ' to '.join(map(str, sorted({min(epochs), max(epochs)})))


def _explain_columns(summary: dict) -> str:
  """One sentence that names the protocols."""
  paper, honest = summary['protocols']['paper'], summary['protocols']['honest']
  folds = honest['num_folds']
  which = 'of the one fold' if folds == 1 else f'of the mean over {folds} folds'
  spread = '' if folds == 1 else ', mean ± standard deviation over folds'
  return (
    f'paper (oracle): per metric the maximum {which}, '
    f'{paper["label"].removeprefix("oracle: ")}; {name_honest(honest)}: '
    f'{honest["label"].split(": ", 1)[1]}{spread}; it decides after epoch'
    f' {_describe_epochs(honest["epochs"])}.'
  )
