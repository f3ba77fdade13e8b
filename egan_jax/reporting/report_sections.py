"""What a page says of a finished run beside its results, as plain rows.

A section that a run has nothing for is None.
"""

import ast
import shlex
from collections.abc import Mapping
from typing import Any

from egan_jax import config as egan_config
from egan_jax import run_files, workdir
from egan_jax.bundle import files
from egan_jax.data.data_report import DUPLICATES, NEARLY_BLACK
from egan_jax.evaluation.calibration import Calibration
from egan_jax.reporting.finished_run import FinishedRun, format_score, name_metric
from egan_jax.reporting.report_results import (
  count,
  mean_cell,
  name_method,
  text_cell,
)

_SHOWN_OF_LIST = 50
_RIVAL_METRICS = ('f1', 'balanced_accuracy', 'recall', 'specificity', 'auroc')


def make_decision(run: FinishedRun) -> dict:
  """The decision of the first fold, which is the one in the model folder."""
  decision = run.summary['decision']
  minority, majority = run.class_names
  thresholds, rule = decision['thresholds'], decision['threshold_rule']
  rows = [
    ('method', run.method),
    ('threshold', f'{format_score(thresholds[0])}, by the rule {rule}'),
    ('decision', f'{minority} if the score is below it, else {majority}'),
    ('promise', decision['promise']),
  ]
  if len(set(thresholds)) > 1:
    rows.append(('thresholds of all folds', ', '.join(map(format_score, thresholds))))
  calibration = read_calibration(run)
  if calibration:
    rows.append(('P(minority)', calibration.promise))
  if decision['notes']:
    rows.append(('notes', '; '.join(decision['notes'])))
  command = None
  if (run.folder / workdir.MODEL).is_dir():
    command = (
      'python -m egan_jax.predict --model=DIR --images=IMAGES --output=scores.csv'
    )
  return {
    'why': f'Deploy {name_method(run.method)}: {decision["why"].rstrip(".")}.',
    'rows': rows,
    'command': command,
  }


def read_calibration(run: FinishedRun) -> Calibration | None:
  """That of the first fold, from the model folder."""
  path = run.folder / workdir.MODEL / files.MODEL
  if not path.is_file():
    return None
  calibration = run_files.read_json(path)['calibration']
  return calibration and Calibration(**calibration)


def make_rivals(run: FinishedRun) -> dict | None:
  """The table of all methods there was a choice of, the best F1 first."""
  rows = run.summary.get('rivals')
  if not rows:
    return None
  caption = (
    'On the same images, draws and backbone, each at its own threshold, chosen on'
    ' training images'
  )
  names = _RIVAL_METRICS if rows[0]['metrics'] else ()
  if names:
    rows = sorted(rows, key=lambda row: -row['metrics']['f1']['mean'])
    caption += (
      '; test labels read once. The one to deploy (marked) was not chosen by this'
      ' table, which only test labels could fill'
    )
  return {
    'caption': caption,
    'head': ['method', *map(name_metric, names), 'threshold'],
    'rows': [
      {
        'name': row['rival'],
        'chosen': row['chosen'],
        'cells': [
          *(mean_cell(row['metrics'].get(name)) for name in names),
          text_cell(row['threshold_rule']),
        ],
      }
      for row in rows
    ],
  }


def make_data(run: FinishedRun) -> dict | None:
  """The data report, as of `data_report.make`: facts as rows, names to fold out."""
  report = run.summary.get('data')
  if not report:
    return None
  minority, majority = report['minority_class'], report['majority_class']
  rows = [('source', report['source'])]
  for split, of_class in report['counts'].items():
    counts = f'{of_class[minority]:,} {minority}, {of_class[majority]:,} {majority}'
    rows.append((f'{split} images', counts))
  if report['ratio'] is not None:
    rows.append(('imbalance', f'1 {minority} to {report["ratio"]:.3g} {majority}'))
  if report['test_is_held_out']:
    rows.append(('test split', 'none of its own: held out of the training images'))
  for side in ('width', 'height'):
    low, middle, high = (f'{report[side][k]:g}' for k in ('min', 'median', 'max'))
    rows.append((side, f'{low} to {high} px, median {middle}'))
  rows.append(('modes', _pairs(report['modes'])))
  lists = []
  if nearly_black := report['nearly_black']['images']:
    rows.append((NEARLY_BLACK, f'{nearly_black:,} images'))
  for kind, meaning in DUPLICATES.items():
    found = report['duplicates'][kind]
    rows.append((meaning, f'{found["images"]:,} images' if found['images'] else 'none'))
    if found['examples']:
      items = [' = '.join(names) for names in found['examples']]
      lists.append((f'{meaning}: {count(found["groups"], "group")}', items))
  unreadable = [f'{file["path"]} {file["reason"]}' for file in report['unreadable']]
  rows.append(
    ('unreadable files', f'{len(unreadable):,}, left out' if unreadable else 'none')
  )
  if unreadable:
    hidden = len(unreadable) - _SHOWN_OF_LIST
    more = [f'and {hidden:,} more'] if hidden > 0 else []
    lists.append(('unreadable files', unreadable[:_SHOWN_OF_LIST] + more))
  if any(report['ignored'].values()):
    rows.append(('ignored files', _pairs(report['ignored'])))
  return {'rows': rows, 'lists': lists}


def _pairs(counts: Mapping[str, int]) -> str:
  return ', '.join(f'{number:,} {name}' for name, number in counts.items() if number)


def make_command(run: FinishedRun) -> str:
  """A command that makes the same run, from the fields that are not the default."""
  default = egan_config.default().to_dict()
  changed = [
    shlex.quote(f'--config.{name}={_to_argument(value, default.get(name))}')
    for name, value in run.config.items()
    if name not in default or default[name] != value
  ]
  start = 'python -m egan_jax.main --config=configs/cifar10.py --workdir=DIR'
  return ' \\\n  '.join([start, *changed])


def _to_argument(value: Any, default: Any) -> str:
  """Where a field takes any type, a name that reads as another, like 1e3, is quoted."""
  if not isinstance(value, str) or isinstance(default, str):
    return str(value)
  try:
    ast.literal_eval(value.capitalize() if value in ('true', 'false') else value)
  except (SyntaxError, ValueError):
    return value
  return repr(value)


def make_environment(run: FinishedRun) -> list[tuple[str, str]]:
  """Versions, machine, times and sizes of networks."""
  environment, seconds = run.summary['environment'], run.summary['seconds']
  rows = [(name, _to_text(value)) for name, value in environment.items() if value]
  for role, sizes in (run.summary.get('parameters') or {}).items():
    text = f'{sizes["total"]:,}, of which {sizes["trainable"]:,} train'
    rows.append((f'parameters of the {role}', text))
  parts = ', '.join(f'{name} {value:.1f}' for name, value in seconds.items())
  return [*rows, ('seconds', f'{sum(seconds.values()):.1f} ({parts})')]


def _to_text(value: Any) -> str:
  if isinstance(value, Mapping):
    return ', '.join(f'{name} {of_name}' for name, of_name in value.items())
  return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
