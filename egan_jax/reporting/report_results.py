"""Results of a finished run as a page shows them: each under its protocol's label."""

from collections.abc import Mapping

from egan_jax.evaluation.metrics import (
  PROBABILITY_METRICS,
  best_constant_floor,
  constant_predictor_floor,
)
from egan_jax.reporting.finished_run import FinishedRun, name_metric, order_metrics
from egan_jax.reporting.tables import is_honest_column, name_decision, name_honest

_TILES = ('f1', 'balanced_accuracy', 'auroc')


def describe_training(run: FinishedRun) -> str:
  """What was trained, on what and for what, in plain sentences."""
  config, counts = run.config, run.counts
  minority, majority = run.class_names
  backbone = ' and '.join(run.summary['decision']['backbones'])
  if config['generator_backbone'] != backbone and run.method == 'egan':
    backbone = f'{config["generator_backbone"]} (generator) and {backbone}'
  draws = '' if counts.folds == 1 else f'in each of {counts.folds} draws '
  texts = [
    f'{name_method(run.method)} learned to tell {minority}, the rare class, from'
    f' {majority}: {draws}{count(counts.minority, "image")} of {minority} against'
    f' {counts.majority:,} of {majority}, seen by {backbone} at'
    f' {config["image_size"]} px (data: {config["dataset"]}).'
  ]
  if run.summary['decision']['metrics']:
    texts.append(
      f'It was judged on {counts.test_minority:,} + {counts.test_majority:,} test'
      ' images that took no part in training.'
    )
  return ' '.join(texts)


def name_method(method: str) -> str:
  """A method as a sentence calls it; rivals go by the name a config gives them."""
  return 'eGAN' if method == 'egan' else method


def read_protocols(run: FinishedRun) -> dict[str, dict]:
  """What the run scored under each protocol there is: `label` and `metrics`.

  Each metric has a `mean` and perhaps, over folds, `std` and `min` and `max` or
  `worst`, and an `epoch`. The decision's own comes first and the floor last, both in the
  test set's world; before the floor they stand at the decision's prior if this is
  another. Without test images of both classes there are none.
  """
  protocols = run.summary.get('protocols') or {}
  decision = run.summary['decision']
  columns = {}
  if decision['metrics']:
    columns[name_decision(decision)] = _pick(decision)
  if 'honest' in protocols:
    columns[name_honest(protocols['honest'])] = _pick(protocols['honest'])
  if 'paper' in protocols:
    columns['paper (oracle)'] = _pick(protocols['paper'])
  if at_prior := decision['metrics_at_prior']:
    prior = decision['prior']
    title = f'{name_decision(decision)} at prior {prior:g}'
    columns[title] = {'label': decision['label'], 'metrics': at_prior}
  label = 'the floor: no look at an image'
  if at_prior:
    floor = _compute_floor(run, prior)
    columns[f'always minority at prior {prior:g}'] = {'label': label, 'metrics': floor}
  if columns:
    columns['always minority'] = {'label': label, 'metrics': _compute_floor(run)}
  return columns


def make_columns(run: FinishedRun) -> list[dict]:
  """Those of `read_protocols` with their `name`, none of them there twice."""
  columns = read_protocols(run)
  decision = run.summary['decision']
  if 'protocols' in run.summary and is_honest_column(decision):
    columns.pop(name_decision(decision), None)
  return [{'name': name, **column} for name, column in columns.items()]


def _compute_floor(run: FinishedRun, prior: float | None = None) -> dict:
  """Of P(minority): that of one that is always the minority's share."""
  given = run.counts.test_minority, run.counts.test_majority, prior
  best = best_constant_floor(*given)
  of_probabilities = {name: best[name] for name in PROBABILITY_METRICS}
  floor = constant_predictor_floor(*given) | of_probabilities
  return {name: {'mean': value} for name, value in floor.items()}


def _pick(protocol: Mapping) -> dict:
  return {'label': protocol['label'], 'metrics': protocol['metrics']}


def make_results(run: FinishedRun) -> dict | None:
  """The table of results under every protocol there is."""
  columns = make_columns(run)
  if not columns:
    return None
  counts = run.counts
  shown = [name for name in order_metrics(columns[0]['metrics']) if _is_metric(name)]
  folds = (
    'one fold' if counts.folds == 1 else f'mean ± spread over {counts.folds} folds'
  )
  if 'low' in columns[0]['metrics']['recall']:
    folds += ', in brackets 95% intervals over test images, where those are enough'
  return {
    'caption': f'{folds}; {run.class_names[0]} is the positive class',
    'columns': [
      {'name': c['name'], 'label': c['label'].split(': ', 1)[-1]} for c in columns
    ],
    'rows': [
      {
        'name': name_metric(name),
        'cells': [mean_cell(column['metrics'].get(name)) for column in columns],
      }
      for name in shown
    ],
    'note': _explain_figures(columns, counts.folds),
  }


def _explain_figures(columns: list[dict], num_folds: int) -> str:
  """What stands beside the figures of these columns."""
  sentences = []
  if any('oracle' in column['name'] for column in columns):
    sentences.append(
      'An oracle figure was chosen with the test labels in hand: it says what could'
      ' have been reached, not what a user would get.'
    )
  if num_folds > 1:
    sentences.append(
      '± is the standard deviation over folds, in brackets the lowest and the highest'
      ' fold.'
    )
  return ' '.join(sentences)


def _is_metric(name: str) -> bool:
  return not name.endswith(('_correct', '_total'))


def mean_cell(value: Mapping | None) -> dict:
  """A cell for a metric of `read_protocols`."""
  if value is None or value.get('mean') is None:
    return text_cell('-')
  extras = []
  if 'low' in value:
    extras.append(f'({value["low"]:.3f} to {value["high"]:.3f})')
  if value.get('std') is not None:
    extras.append(f'± {value["std"]:.3f}')
  if value.get('epoch') is not None:
    extras.append(f'at epoch {value["epoch"]}')
  elif value.get('std') is not None and 'worst' in value:
    extras.append(f'worst {value["worst"]:.3f}')
  elif value.get('std') is not None:
    extras.append(f'({value["min"]:.3f} to {value["max"]:.3f})')
  return text_cell(f'{value["mean"]:.3f}', ' '.join(extras))


def text_cell(value: str, extra: str = '') -> dict:
  """A cell of a table: a value and a smaller remark."""
  return {'value': value, 'extra': extra}


def make_tiles(run: FinishedRun) -> list[dict]:
  """The few numbers a reader sees first, each with its protocol."""
  columns = make_columns(run)
  if not columns:
    return []
  first, floor = columns[0], columns[-1]
  tiles = []
  for name in _TILES:
    value = first['metrics'].get(name)
    if value is None:
      continue
    tiles.append(
      {
        'name': name_metric(name),
        'value': f'{value["mean"]:.3f}',
        'spread': f'±\u00a0{value["std"]:.3f}' if value.get('std') is not None else '',
        'label': (
          f'{first["label"].split(":")[0]}; always minority'
          f' {floor["metrics"][name]["mean"]:.3f}'
        ),
      }
    )
  return tiles


def make_verdict(run: FinishedRun) -> str | None:
  """Whether the decision beats the one that needs no training."""
  columns = make_columns(run)
  if not columns:
    return None
  first, floor = (column['metrics']['f1'] for column in (columns[0], columns[-1]))
  mean, limit = first['mean'], floor['mean']
  low = first.get('min', first.get('worst', mean))
  minority = run.class_names[0]
  against = f'the F1 of {limit:.3f} that calling every image {minority} has'
  if mean <= limit:
    return f'With an F1 of {mean:.3f} it does not beat {against}.'
  if run.counts.folds == 1:
    return f'With an F1 of {mean:.3f} it beats {against}.'
  if low <= limit:
    return f'On average it beats {against}, but its worst fold does not ({low:.3f}).'
  return f'Every fold beats {against}: {low:.3f} at worst, {mean:.3f} on average.'


def count(quantity: int, what: str) -> str:
  """A number of things, in words."""
  return f'{quantity:,} {what}{"" if quantity == 1 else "s"}'
