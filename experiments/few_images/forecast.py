"""Whether `fusion.forecast` sets good thresholds for 1 to 4 minority images.

  python -m experiments.few_images.forecast --features_dir=DIR

Training images only: pairs of CIFAR-10 and CIFAR-100 classes and of digits, which the
forecast was fitted to, and the X-rays both ways round, which only had a say in what it was
fitted to. Of the tables' pairs the X-rays and CIFAR-100 0/1 are among them. Of each pair most majority images are
fitted on; on the rest and on minority images in no draw, F1 is measured at 5 % false
alarms, at the cut that expects the highest F1 under the forecast, and at the best cut.
"""

import itertools
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from egan_jax import feature_extractor
from egan_jax.evaluation import score_models, thresholds
from egan_jax.rivals import fusion
from egan_jax.scorers import Scorer
from experiments.few_images import decisions, store
from experiments.few_images.measures import best_f1, keep_means, run_command

RESULT = Path(__file__).parents[1] / 'results' / 'few_images_forecast.json'
NUMBERS = (1, 2, 3, 4)
OF_THE_TABLES = ({0, 1}, {2, 3})  # of CIFAR-10
_FITTED = 0.75  # of the majority
_POOL = 200  # draws are from these minority images, at most half
_OTHERS = 400
_NAME = 'EfficientNetLite0'

Classes = dict[tuple[str, int | str], np.ndarray]


def load_classes(folder: str) -> Classes:
  """Features `[N, C]` by data set and class, in the order of drawing."""
  known = [('cifar10', c) for c in range(4)] + [('cifar100', c) for c in range(5)]
  known += [('xray', c) for c in ('NORMAL', 'PNEUMONIA')]
  classes = {}
  for dataset, label in known:
    features = store.load(folder, dataset, label, 'train', _NAME, 224)
    classes[dataset, label] = store.arrange(features, dataset, label)
  digits = load_digits()
  images = np.repeat((digits.images * (255 / 16)).astype(np.uint8)[..., None], 3, -1)
  extractor = feature_extractor.make((_NAME,), 'imagenet', 224, 'imagenet')
  features = feature_extractor.run(extractor, images)
  return classes | {('digits', c): features[digits.target == c] for c in range(10)}


def list_pairs(classes: Classes) -> Iterator[tuple[str, tuple, tuple]]:
  """Kind, majority and minority of every pair."""
  for majority, minority in itertools.permutations(classes, 2):
    datasets = {majority[0], minority[0]}
    if datasets == {'cifar10'} and {majority[1], minority[1]} in OF_THE_TABLES:
      continue
    if datasets <= {'cifar10', 'cifar100'}:
      yield 'CIFAR', majority, minority
    elif datasets == {'xray'}:
      yield f'X-ray, majority {majority[1]}', majority, minority
    elif datasets == {'digits'} and (minority[1] - majority[1]) % 10 in (1, 5, 8):
      yield 'digits', majority, minority


def judge(scorer: Scorer, of_minority: np.ndarray, of_majority: np.ndarray) -> dict:
  """F1 at each cut, and the forecast beside what came, in the majority's deviations."""
  model = score_models.from_method(*scorer.minority_score_distribution)
  cuts = {
    'f1_at_5_percent': np.quantile(of_majority, 0.05),
    'f1_of_forecast': thresholds.expected_f1(of_majority, model).value,
  }
  rates = {
    name: ((of_minority < cut).mean(), (of_majority < cut).mean())
    for name, cut in cuts.items()
  }
  mean, deviation = of_majority.mean(), of_majority.std()
  return {
    **{
      name: 2 * found / (found + alarms + 1) for name, (found, alarms) in rates.items()
    },
    'best_f1': best_f1(of_minority, of_majority),
    'false_alarms_of_forecast': rates['f1_of_forecast'][1],
    'forecast': (model.mean - mean) / deviation,
    'mean_of_minority': (of_minority.mean() - mean) / deviation,
    'deviation_of_minority': of_minority.std() / deviation,
  }


def judge_pair(
  majority: np.ndarray, minority: np.ndarray, directions: np.ndarray, num_draws: int
) -> Iterator[tuple[int, dict]]:
  """The number of minority images and what `judge` says, draw by draw."""
  fitted, rest = np.split(majority, [int(_FITTED * len(majority))])
  size = min(_POOL, len(minority) // 2)
  pool, others = minority[:size], minority[size : size + _OTHERS]
  rival = fusion.rival(directions)
  known = rival.measure(fitted)
  for n in NUMBERS:
    draws = pool[: n * num_draws].reshape(num_draws, n, -1)
    fits = rival.fit_draws(known, draws, [0] * num_draws)
    scores = (decisions.score_draws(fits, part)['fusion'] for part in (others, rest))
    for scorer, *of_both in zip(fits, *scores, strict=True):
      yield n, judge(scorer, *of_both)


def summarise(rows: list[dict]) -> dict:
  """Means over pairs and draws, and how the forecast errs."""
  means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
  errors = [row['mean_of_minority'] - row['forecast'] for row in rows]
  means['error_of_forecast'] = float(np.std(errors))
  return {key: round(value, 4) for key, value in means.items()} | {'draws': len(rows)}


def main(options: types.SimpleNamespace) -> None:
  """Measures and stores it."""
  directions = feature_extractor.class_directions((_NAME,), 'imagenet')
  classes = load_classes(options.features_dir.value)
  found: dict[str, dict[int, list]] = {}
  for kind, majority, minority in list_pairs(classes):
    for n, row in judge_pair(
      classes[majority], classes[minority], directions, options.draws.value
    ):
      found.setdefault(kind, {}).setdefault(n, []).append(row)
    print(kind, majority, minority, flush=True)
  result = {
    kind: {str(n): summarise(rows) for n, rows in of_kind.items()}
    for kind, of_kind in found.items()
  }
  keep_means(
    options.output.value,
    'python -m experiments.few_images.forecast --features_dir=DIR',
    result,
  )
  print(result)


if __name__ == '__main__':
  run_command(main, draws=10, output=RESULT, folders=('features_dir',))
