"""The search for the constants of `plda_knn`, on pairs of CIFAR-100 classes.

  python -m experiments.few_images.search --features_dir=DIR

Training images only: of each pair 300 majority images are fitted on, draws come from
250 minority images, and the rest, 200 and 250, are told apart. AUROC, and the highest
F1 that any threshold gives, are means over pairs and draws.
"""

import json
import types
from pathlib import Path

import numpy as np

from egan_jax import feature_extractor, two_covariance
from egan_jax.float32_products import in_float32
from egan_jax.two_covariance import Covariances
from experiments.few_images import store
from experiments.few_images.measures import average, keep_means, measure, run_command

RESULT = Path(__file__).parents[1] / 'results' / 'few_images_search.json'
NUMBERS = (1, 2, 10, 100)
# One constant at a time is changed from the first guess and from the choice.
SETTINGS = (
  Covariances(power=1.0, spherical=0.1, between=0.3),
  Covariances(power=1.0, spherical=0.3, between=0.3),
  Covariances(power=1.0, spherical=0.1, between=3.0),
  Covariances(power=0.5, spherical=0.1, between=0.3),
  Covariances(power=0.5, spherical=0.03, between=0.3),
  Covariances(power=0.5, spherical=0.3, between=0.3),
  Covariances(power=0.5, spherical=0.1, between=3.0),
  Covariances(power=0.25, spherical=0.1, between=0.3),
)
KNN_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
_NAME = 'EfficientNetLite0'


def ratio(variances: np.ndarray, images: np.ndarray, num_given: int):
  """The score as a function of y `[N, R]`, from `num_given` minority images' y."""
  mean = images.mean(axis=0) if num_given else np.zeros(len(variances))
  variance = variances / (1 + num_given * variances)
  mean, spread = num_given * variance * mean, 1 + variance
  constant = np.sum(mean**2 / spread + np.log(spread)) / 2
  quadratic, linear = -variance / (2 * spread), -mean / spread
  return lambda y: y**2 @ quadratic + y @ linear + constant


def scale_by_evidence(variances: np.ndarray, images: np.ndarray) -> float:
  """The multiple of B under which the mean of the images is most likely."""
  scales = np.geomspace(0.1, 300, 25)
  spread = scales[:, None] * variances + 1 / len(images)
  mean = images.mean(axis=0)
  return scales[np.argmin(np.sum(np.log(spread) + mean**2 / spread, axis=1))]


def mixture(one, other, log_odds: float):
  """The minority is as `one` says or, less likely, as `other` does."""
  return lambda y: -np.logaddexp(-one(y), -other(y) + log_odds)


def search_pair(
  majority: np.ndarray,
  minority: np.ndarray,
  directions: np.ndarray,
  constants: Covariances,
  num_draws: int,
) -> dict[tuple[str, int], list[tuple[float, float]]]:
  """(AUROC, best F1) per draw of every variant and number of minority images."""
  rng = np.random.default_rng(0)
  majority, minority = rng.permutation(majority), rng.permutation(minority)
  fitted, rest = majority[:300], majority[300:]
  model = two_covariance.measure_majority(fitted, directions, constants)
  of_rest, pool, others = (
    model.project(features) for features in (rest, minority[:250], minority[250:])
  )
  knn = [_neighbors(fitted, features) for features in (minority[250:], rest)]
  prior = ratio(model.variances, of_rest, 0)
  results = {}
  for n in NUMBERS:
    for _ in range(num_draws):
      images = pool[rng.permutation(len(pool))[:n]]
      score = ratio(model.variances, images, n)
      parts = score(others), score(of_rest)
      for weight in KNN_WEIGHTS:
        fused = (
          _standardise(part, parts[1]) + weight * _standardise(near, knn[1])
          for part, near in zip(parts, knn, strict=True)
        )
        results.setdefault((f'kNN {weight}', n), []).append(measure(*fused))
      mixed = mixture(score, prior, -2.0)
      scale = scale_by_evidence(model.variances, images)
      scaled = ratio(scale * model.variances, images, n)
      for name, variant in (('mixture', mixed), ('evidence', scaled)):
        row = measure(variant(others), variant(of_rest))
        results.setdefault((name, n), []).append(row)
  return results


def _neighbors(majority: np.ndarray, features: np.ndarray) -> np.ndarray:
  index = majority / np.linalg.norm(majority, axis=1, keepdims=True)
  return np.asarray(in_float32(two_covariance.score_neighbors)(index, features))


def _standardise(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
  return (scores - reference.mean()) / reference.std()


def main(options: types.SimpleNamespace) -> None:
  directions = feature_extractor.class_directions((_NAME,), 'imagenet')
  classes = [
    store.load(options.features_dir.value, 'cifar100', label, 'train', _NAME, 224)
    for label in range(5)
  ]
  result = {}
  for constants in SETTINGS:
    rows = {}
    for minority, majority in store.SEARCHED:
      found = search_pair(
        classes[majority], classes[minority], directions, constants, options.draws.value
      )
      for key, values in found.items():
        rows.setdefault(key, []).extend(values)
    setting = (
      f'power {constants.power}, spherical {constants.spherical},'
      f' between {constants.between}'
    )
    result[setting] = average(rows)
    print(setting, json.dumps(result[setting]), flush=True)
    keep_means(
      options.output.value,
      'python -m experiments.few_images.search --features_dir=DIR',
      result,
    )


if __name__ == '__main__':
  run_command(main, draws=3, output=RESULT, folders=('features_dir',))
