"""Whether crops of the minority images help to decide, on stand-ins for the tables' pairs.

  python -m experiments.few_images.crops --features_dir=DIR --data_dir=TFDS

Training images and pairs as of `fusion_search`. The corners of each minority
image, four fifths of its side, are seen besides it: *averaged* takes the mean of the
five features for the image's own, *more images* counts each as one more image. AUROC of
'fusion' and the highest F1 that any threshold gives are means over pairs and draws.
"""

import itertools
import types
from pathlib import Path

import numpy as np

from egan_jax import feature_extractor
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.rivals import fusion
from experiments.few_images import store
from experiments.few_images.measures import (
  average,
  keep_means,
  measure_draws,
  run_command,
)

RESULT = Path(__file__).parents[1] / 'results' / 'few_images_crops.json'
NUMBERS = (1, 2, 10)
SHARE = 0.8  # of the side
_NAME = 'EfficientNetLite0'


def crop_corners(images: np.ndarray) -> np.ndarray:
  """The four corners `[4, N, h, w, 3]` of images `[N, H, W, 3]`."""
  height, width = (round(SHARE * side) for side in images.shape[1:3])
  rows, columns = slice(None, height), slice(None, width)
  last_rows, last_columns = slice(-height, None), slice(-width, None)
  return np.stack(
    [images[:, r, c] for r in (rows, last_rows) for c in (columns, last_columns)]
  )


def see_with_corners(extractor: FeatureExtractor, images: np.ndarray) -> np.ndarray:
  """Features `[N, 5, C]` of each image and its corners."""
  views = [images, *crop_corners(images)]
  return np.stack([feature_extractor.run(extractor, view) for view in views], axis=1)


def use(features: np.ndarray) -> dict[str, np.ndarray]:
  """Minority features `[D, n', C]` in each way of using `[D, n, 5, C]`."""
  return {
    'without': features[:, :, 0],
    'averaged': features.mean(axis=2),
    'more images': features.reshape(len(features), -1, features.shape[-1]),
  }


def compare(
  majority: np.ndarray,
  num_fitted: int,
  drawn: np.ndarray,
  others: np.ndarray,
  directions: np.ndarray,
) -> dict[tuple[int, str], list]:
  """(AUROC, best F1) per draw, by number of images and way of using them.

  Args:
    majority: features `[M, C]`.
    num_fitted: how many of them are fitted on; the rest are told apart.
    drawn: of the draws and the views of their images `[D, n, 5, C]`.
    others: of minority images in no draw.
    directions: of `fusion.rival`.
  """
  rival = fusion.rival(directions)
  fitted, rest = np.split(majority, [num_fitted])
  found = {}
  for n in NUMBERS:
    for way, minority in use(drawn[:, :n]).items():
      found[n, way] = measure_draws(rival, fitted, minority, others, rest)
  return found


def main(options: types.SimpleNamespace) -> None:
  """Measures and stores it."""
  directions = feature_extractor.class_directions((_NAME,), 'imagenet')
  extractor = feature_extractor.make((_NAME,), 'imagenet', 224, 'imagenet')
  sources = store.Sources(options.data_dir.value, '')
  num_drawn = options.draws.value * max(NUMBERS)
  result = {}
  for dataset, (pairs, num_fitted) in store.STAND_INS.items():
    features, drawn = {}, {}
    for label in {*itertools.chain(*pairs)}:
      pooled = store.load(
        options.features_dir.value, dataset, label, 'train', _NAME, 224
      )
      images = sources.images(dataset, label, 'train', 224)
      order = store.order(len(pooled))
      features[label] = pooled[order]
      seen = see_with_corners(extractor, images[order[:num_drawn]])
      # The features of other images are those of the store.
      np.testing.assert_allclose(seen[:, 0], features[label][:num_drawn], atol=1e-3)
      drawn[label] = seen.reshape(options.draws.value, -1, *seen.shape[1:])
    found = {}
    for minority, majority in pairs:
      for key, rows in compare(
        features[majority],
        num_fitted,
        drawn[minority],
        features[minority][num_drawn:],
        directions,
      ).items():
        found.setdefault(key, []).extend(rows)
      print(dataset, minority, majority, flush=True)
    result[dataset] = average(found)
  keep_means(
    options.output.value,
    'python -m experiments.few_images.crops --features_dir=DIR --data_dir=TFDS',
    result,
  )
  print(result)


if __name__ == '__main__':
  run_command(main, draws=4, output=RESULT, folders=('features_dir', 'data_dir'))
