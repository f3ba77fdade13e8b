"""The weight of the regression in `fusion`, on stand-ins for the tables' pairs.

  python -m experiments.few_images.fusion_search --features_dir=DIR

Training images only: pairs of CIFAR-100 classes, and those of CIFAR-10 that cross the
pairs of the tables. Of each pair 300 or 4,000 majority images are fitted on, draws come
from half of the minority images, and the rest is told apart. AUROC, and the highest F1
that any threshold gives, are means over pairs and draws.
"""

import itertools
import types
from pathlib import Path

import numpy as np

from egan_jax import feature_extractor, scorers, two_covariance
from egan_jax.float32_products import in_float32
from egan_jax.rivals import fusion
from egan_jax.scorers import Scorer
from experiments.few_images import store
from experiments.few_images.measures import average, keep_means, measure, run_command

RESULT = Path(__file__).parents[1] / 'results' / 'few_images_fusion_search.json'
NUMBERS = (1, 2, 3, 5, 10, 100)
WEIGHTS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_NAME = 'EfficientNetLite0'


@in_float32
def evaluate_parts(scorer: Scorer, features: np.ndarray) -> tuple[np.ndarray, ...]:
  """Both parts of a 'fusion' `[N]`, as it adds them up but for the weight."""
  arrays = scorer.arrays
  together = two_covariance.score_plda_knn(arrays['plda_knn'], features)
  roots = two_covariance.raise_to(features, arrays['plda_knn']['plda']['power'])
  log_odds = scorers.score_linear(arrays['logistic'], roots)
  return tuple(
    np.asarray((part - arrays[f'{name}_mean']) / arrays[f'{name}_deviation'])
    for name, part in (('plda_knn', together), ('logistic', log_odds))
  )


def search_pair(
  majority: np.ndarray,
  minority: np.ndarray,
  num_fitted: int,
  directions: np.ndarray,
  num_draws: int,
) -> dict[tuple[int, float], list]:
  """(AUROC, best F1) per draw, by number of minority images and weight."""
  rng = np.random.default_rng(0)
  majority, minority = rng.permutation(majority), rng.permutation(minority)
  fitted, rest = majority[:num_fitted], majority[num_fitted:]
  pool, others = np.array_split(minority, 2)
  rival = fusion.rival(directions)
  known = rival.measure(fitted)
  found = {}
  for n in NUMBERS:
    draws = np.stack([pool[rng.permutation(len(pool))[:n]] for _ in range(num_draws)])
    for scorer in rival.fit_draws(known, draws, [0] * num_draws):
      of_others, of_rest = (evaluate_parts(scorer, f) for f in (others, rest))
      for weight in WEIGHTS:
        fused = (part[0] + weight * part[1] for part in (of_others, of_rest))
        found.setdefault((n, weight), []).append(measure(*fused))
  return found


def main(options: types.SimpleNamespace) -> None:
  directions = feature_extractor.class_directions((_NAME,), 'imagenet')
  result = {}
  for dataset, (pairs, num_fitted) in store.STAND_INS.items():
    classes = {
      label: store.load(options.features_dir.value, dataset, label, 'train', _NAME, 224)
      for label in {*itertools.chain(*pairs)}
    }
    found = {}
    for minority, majority in pairs:
      for key, rows in search_pair(
        classes[majority],
        classes[minority],
        num_fitted,
        directions,
        options.draws.value,
      ).items():
        found.setdefault(key, []).extend(rows)
      print(dataset, minority, majority, flush=True)
    result[dataset] = average(found)
  keep_means(
    options.output.value,
    'python -m experiments.few_images.fusion_search --features_dir=DIR',
    result,
  )
  print(result)


if __name__ == '__main__':
  run_command(main, draws=4, output=RESULT, folders=('features_dir',))
