"""Judges the epoch rules on games that were played, and writes what came out."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import stats

from egan_jax import run_files
from egan_jax.evaluation import metrics, thresholds
from egan_jax.reporting import plotting
from egan_jax.reporting.tables import to_markdown
from experiments.epoch_rules.rules import RULES, describe_epoch
from experiments.paper import rendering

RESULTS = Path(__file__).parents[1] / 'results'
NAME = 'epoch_rules'
SPECIFICITY = 0.95
PREFIXES = '', 'running average, '  # the discriminator as it is, and averaged
# What the test says at each of the two thresholds.
FIELDS = {
  'zero': ('f1', 'balanced_accuracy', 'auroc'),
  'held_out_95': ('f1', 'balanced_accuracy', 'specificity'),
}
_COMMAND = 'python -m experiments.epoch_rules --runs=DIR'
_BASE = 'last'
_ORACLE = 'oracle: best epoch of each metric on test labels'
# What the data sets are compared by.
_COMPARED = (
  ('zero', 'auroc', 'AUROC'),
  ('zero', 'balanced_accuracy', 'Balanced accuracy at 0'),
  ('held_out_95', 'balanced_accuracy', 'Balanced accuracy at held-out 95%'),
)


def judge(
  title: str, num_majority: int, batch_size: int, games: Mapping[int, Path]
) -> dict:
  """What every rule's epochs come to on the test sets of all games.

  Args:
    title: of the setting.
    num_majority: majority images the games were fed with.
    batch_size: of them per update.
    games: the file of each seed, as `games.play` made it.

  Returns:
    By rule the values `[games]` per threshold and metric and the chosen epochs; the
    same of the oracle; the mean curves of the first seed for the figure; and where
    each seed was played.
  """
  rules, seconds, curves, environments = {}, {}, None, []
  steps_per_epoch = -(-num_majority // batch_size)
  for seed, path in games.items():
    with np.load(path) as file:
      arrays = dict(file)
    seconds[seed] = float(arrays['seconds'])
    for fold in range(arrays['test'].shape[2]):
      for name, values in _judge_game(arrays, fold, steps_per_epoch).items():
        _append(rules.setdefault(name, {}), values)
    curves = curves or _describe_curves(arrays)
    environments.append(json.loads(str(arrays['environment'])))
  return {
    'title': title,
    'seeds': sorted(games),
    'seconds': seconds,
    'num_epochs': arrays['test'].shape[1],
    'num_games': len(rules[_BASE]['epoch']),
    'environments': environments,
    'rules': rules,
    'against_last': {
      name: _compare(values, rules[_BASE])
      for name, values in rules.items()
      if name != _BASE
    },
    'curves': curves,
  }


def describe_records(
  held_out: np.ndarray,
  left_out: np.ndarray,
  fed_minority: np.ndarray,
  fed_majority: np.ndarray,
  steps_per_epoch: int,
) -> list[dict]:
  """Records of `rules` from scores `[epochs, images]` of one game."""
  return [
    describe_epoch(
      index + 1,
      (index + 1) * steps_per_epoch,
      held_out[index],
      held_out[index - 1] if index else None,
      left_out[index],
      (fed_minority[index], fed_majority[index]),
    )
    for index in range(len(held_out))
  ]


def _judge_game(
  arrays: Mapping[str, np.ndarray], fold: int, steps_per_epoch: int
) -> dict[str, dict]:
  """Of one game, by rule: the epoch and the test metrics at both thresholds."""
  is_minority = arrays['is_minority']
  judged = {}
  for index, prefix in enumerate(PREFIXES):
    held_out, test, *others = (
      arrays[name][index, :, fold]
      for name in ('held_out', 'test', 'left_out', 'fed_minority', 'fed_majority')
    )
    records = describe_records(held_out, *others, steps_per_epoch)
    for rule, choose in RULES.items():
      epoch = choose(records)
      judged[prefix + rule] = {
        'epoch': epoch,
        **_evaluate(held_out[epoch - 1], test[epoch - 1], is_minority),
      }
  plain = [
    _evaluate(*scores, is_minority)
    for scores in zip(
      arrays['held_out'][0, :, fold], arrays['test'][0, :, fold], strict=True
    )
  ]
  judged[_ORACLE] = {
    'epoch': None,
    **{
      threshold: {
        field: max(epoch[threshold][field] for epoch in plain) for field in fields
      }
      for threshold, fields in FIELDS.items()
    },
  }
  return judged


def _evaluate(
  held_out: np.ndarray, test: np.ndarray, is_minority: np.ndarray
) -> dict[str, dict]:
  cut = thresholds.target_specificity(held_out, SPECIFICITY).value
  judged = {
    'zero': metrics.evaluate_scores(test, is_minority),
    'held_out_95': metrics.evaluate_scores(test, is_minority, cut),
  }
  return {
    name: {field: judged[name][field] for field in fields}
    for name, fields in FIELDS.items()
  }


def _append(lists: dict, values: Mapping) -> None:
  for name, value in values.items():
    if isinstance(value, dict):
      _append(lists.setdefault(name, {}), value)
    else:
      lists.setdefault(name, []).append(value)


def _compare(rule: Mapping, base: Mapping) -> dict:
  """Paired differences to the last epoch over games: mean, interval, p.

  The interval is a percentile bootstrap over games (95%), p a two-sided Wilcoxon
  signed-rank test's. Five folds of a seed share their majority and test images, so
  both are optimistic.
  """
  compared = {}
  for threshold, fields in FIELDS.items():
    for field in fields:
      differences = np.subtract(rule[threshold][field], base[threshold][field])
      resampled = np.random.default_rng(0).choice(
        differences, (10_000, differences.size)
      )
      low, high = np.quantile(resampled.mean(axis=1), [0.025, 0.975])
      compared[f'{threshold} {field}'] = {
        'mean': float(differences.mean()),
        'low': float(low),
        'high': float(high),
        'p': float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0,
      }
  return compared


def _describe_curves(arrays: Mapping[str, np.ndarray]) -> dict:
  """Test recall and specificity at 0, epoch by epoch `[epochs][folds]`, plain."""
  called = arrays['test'][0] < 0
  is_minority = arrays['is_minority'].astype(bool)
  return {
    'recall': called[..., is_minority].mean(axis=-1).round(4),
    'specificity': 1 - called[..., ~is_minority].mean(axis=-1).round(4),
  }


def read() -> dict[str, dict]:
  """The settings that were judged before, by name."""
  path = RESULTS / f'{NAME}.json'
  return json.loads(path.read_text())['settings'] if path.exists() else {}


def write(result: dict) -> None:
  """Writes JSON, Markdown and a PNG per setting to experiments/results."""
  run_files.write_json(RESULTS / f'{NAME}.json', result)
  run_files.write_text(RESULTS / f'{NAME}.md', render(result) + '\n')
  for name, setting in result['settings'].items():
    _draw(setting, RESULTS / f'{NAME}_{name}.png')


def render(result: dict) -> str:
  """The comparison in Markdown, without a heading: side by side, then each setting."""
  settings = result['settings']
  about = (
    'EfficientNetLite0, at 32 px but where it says otherwise, a fifth of both classes'
    ' held back. The command beside a setting plays its games; then'
    f' `{_COMMAND} --report` judges them.'
  )
  parts = [about]
  if len(settings) > 1:
    parts.append(
      'All data sets side by side: mean ± standard deviation over games; in brackets the'
      " mean difference to the last epoch of the same games, with p of Wilcoxon's"
      ' signed-rank test.'
    )
    for threshold, field, title in _COMPARED:
      head = [f'{title}: rule', *(setting['title'] for setting in settings.values())]
      rows = [
        [
          name.replace('_', ' '),
          *(_describe(s, name, threshold, field) for s in settings.values()),
        ]
        for name in _list_rules()
      ]
      parts.append(to_markdown([head, *rows]))
  parts += [
    f'{_render_setting(name, setting)}\n\n![{setting["title"]}]({NAME}_{name}.png)'
    for name, setting in settings.items()
  ]
  return '\n\n'.join(parts)


def _list_rules() -> list[str]:
  """Names in the order of the tables; JSON keeps none."""
  return [*(prefix + r for prefix in PREFIXES for r in RULES), _ORACLE]


def _describe(setting: dict, name: str, threshold: str, field: str) -> str:
  values = rendering.mean_and_spread(setting['rules'][name][threshold][field])
  if name == _BASE:
    return values
  difference = setting['against_last'][name][f'{threshold} {field}']
  return f'{values} ({difference["mean"]:+.3f}; p = {difference["p"]:.2g})'


def _render_setting(name: str, setting: dict) -> str:
  head = [
    *('rule', 'epochs chosen', 'AUROC', 'F1 at 0', 'balanced accuracy at 0'),
    *('F1 at held-out 95%', 'balanced accuracy at held-out 95%'),
    'AUROC against last (95% interval; p)',
  ]
  columns = (
    *(('zero', 'auroc'), ('zero', 'f1'), ('zero', 'balanced_accuracy')),
    *(('held_out_95', 'f1'), ('held_out_95', 'balanced_accuracy')),
  )
  rows = []
  for rule in _list_rules():
    values = setting['rules'][rule]
    epochs = [epoch for epoch in values['epoch'] if epoch is not None]
    chosen = f'{min(epochs)} to {max(epochs)}' if epochs else '-'
    cells = [rendering.mean_and_spread(values[t][field]) for t, field in columns]
    difference = setting['against_last'].get(rule, {}).get('zero auroc')
    against = '-'
    if difference:
      against = (
        f'{difference["mean"]:+.3f} ({difference["low"]:+.3f} to'
        f' {difference["high"]:+.3f}; p = {difference["p"]:.2g})'
      )
    rows.append([rule.replace('_', ' '), chosen, *cells, against])
  seconds = sum(setting['seconds'].values())
  return (
    f'**{setting["title"]}**: {setting["num_games"]} games (seeds'
    f' {", ".join(map(str, setting["seeds"]))}, five folds each) of'
    f' {setting["num_epochs"]} epochs, {seconds:.0f} s on'
    f' {rendering.describe_machines(setting["environments"])}; mean ± standard deviation'
    f' over games. `{_COMMAND} --setting={name} --data_dir=DATA_DIR'
    f' --seeds={",".join(map(str, setting["seeds"]))}'
    f' --num_epochs={setting["num_epochs"]}`\n\n'
    f'{to_markdown([head, *rows])}'
  )


def _draw(setting: dict, path: Path) -> None:
  axes = plotting.new_axes(
    f'The game oscillates: {setting["title"]}',
    f'threshold 0, seed {setting["seeds"][0]}; '
    + plotting.describe_band(len(setting['curves']['recall'][0])),
  )
  for field, color, name in (
    ('recall', plotting.MINORITY, 'minority images called minority'),
    ('specificity', plotting.MAJORITY, 'majority images called majority'),
  ):
    curves = np.asarray(setting['curves'][field]).T
    plotting.draw_curve(axes, curves, color, name)
  axes.set_ylim(0, 1.02)
  axes.set_ylabel('share of the class in the test', color=plotting.INK)
  plotting.set_epoch_axis(axes, len(setting['curves']['recall']))
  plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)
