"""Whether a frozen backbone sees more by earlier maps or a second size of the image.

  python -m experiments.few_images.views --data_dir=TFDS --xray_dir=CHEST_XRAY

Training images only: pairs of CIFAR-100 classes that are in no table, and the X-rays both
ways round. Each view stands beside the last map of EfficientNet-Lite0 at 224 px, or in its
place. Part of the majority is fitted on; on the rest and on minority images in no draw,
AUROC of 'fusion' and the highest F1 that any threshold gives are measured: means over
pairs and draws.
"""

import dataclasses
import itertools
import types
from pathlib import Path

import numpy as np

from egan_jax import feature_extractor
from egan_jax.backbones.graph import LayerGraph
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.rivals import fusion
from experiments.few_images import store
from experiments.few_images.measures import keep_means, measure_draws, run_command

_COMMAND = (
  'python -m experiments.few_images.views --data_dir=TFDS --xray_dir=CHEST_XRAY'
)
RESULT = Path(__file__).parents[1] / 'results' / 'few_images_views.json'
NUMBERS = (1, 2, 10)
# Minority and majority, and majority images to fit.
PAIRS = {
  'CIFAR-100': ('cifar100', tuple((c, (c + 2) % 5) for c in range(5)), 300),
  'X-ray': ('xray', (('PNEUMONIA', 'NORMAL'), ('NORMAL', 'PNEUMONIA')), 400),
}
# The last maps of earlier stages before they are projected: 14x14 and 7x7 of 224 px.
EARLIER = ('block5c_activation', 'block6d_activation')
_NAME = 'EfficientNetLite0'
# By view: side of the image in pixels and earlier maps, of each pass.
VIEWS = {
  '224 px': [(224, ())],
  '224 px, also block 5': [(224, EARLIER[:1])],
  '224 px, also block 6': [(224, EARLIER[1:])],
  '96 px': [(96, ())],
  '224 px and 96 px': [(224, ()), (96, ())],
}


def make_view(size: int, earlier: tuple[str, ...]) -> FeatureExtractor:
  """Pooled maps, the earlier ones before the last."""
  extractor = feature_extractor.make((_NAME,), 'imagenet', size, 'imagenet')
  (trunk,) = extractor.trunks
  graph = LayerGraph(trunk.graph.layers, (*earlier, *trunk.graph.output))
  return dataclasses.replace(
    extractor, trunks=(dataclasses.replace(trunk, graph=graph),)
  )


def directions_of(num_features: list[int], classifier: np.ndarray) -> np.ndarray:
  """How classes differ in the features of all passes; of earlier maps nothing is known.

  Args:
    num_features: of each pass; the last ones of each are those of the classifier.
    classifier: `[C, classes]`.
  """
  return np.concatenate(
    [
      np.pad(classifier, ((count - len(classifier), 0), (0, 0)))
      for count in num_features
    ]
  )


def see(images: dict[tuple, np.ndarray], passes: list) -> tuple[dict, np.ndarray]:
  """Features by data set and class, and how classes differ in them."""
  seen, num_features = {key: [] for key in images}, []
  for size, earlier in passes:
    extractor = make_view(size, earlier)
    for key, of_class in images.items():
      seen[key].append(feature_extractor.run(extractor, of_class))
    num_features.append(sum(extractor.sizes))
  directions = directions_of(
    num_features, feature_extractor.class_directions((_NAME,), 'imagenet')
  )
  features = {key: np.concatenate(parts, axis=1) for key, parts in seen.items()}
  return features, directions


def load_images(data_dir: str, xray_dir: str) -> dict[tuple, np.ndarray]:
  """Training images by data set and class, in the order of drawing."""
  sources = store.Sources(data_dir, xray_dir)
  images = {}
  for dataset, pairs, _ in PAIRS.values():
    for label in sorted({*itertools.chain(*pairs)}):
      of_class = sources.images(dataset, label, 'train', 224)
      if of_class is not None:
        images[dataset, label] = store.arrange(of_class, dataset, label)
  return images


def compare(
  features: dict[tuple, np.ndarray], directions: np.ndarray, kind: str, num_draws: int
) -> dict[str, dict[str, float]]:
  """Mean AUROC and best F1 over the pairs of a kind, by number of images."""
  dataset, pairs, num_fitted = PAIRS[kind]
  rival = fusion.rival(directions)
  found = {n: [] for n in NUMBERS}
  num_drawn = num_draws * max(NUMBERS)
  for minority, majority in pairs:
    drawn, others = np.split(features[dataset, minority], [num_drawn])
    fitted, rest = np.split(features[dataset, majority], [num_fitted])
    for n in NUMBERS:
      draws = drawn.reshape(num_draws, max(NUMBERS), -1)[:, :n]
      found[n] += measure_draws(rival, fitted, draws, others, rest)
  means = {n: np.mean(rows, axis=0).round(4).tolist() for n, rows in found.items()}
  return {str(n): {'auroc': a, 'best_f1': f1} for n, (a, f1) in means.items()}


def main(options: types.SimpleNamespace) -> None:
  """Measures and stores it."""
  images = load_images(options.data_dir.value, options.xray_dir.value)
  kinds = [kind for kind in PAIRS if any(PAIRS[kind][0] == key[0] for key in images)]
  result = {}
  for view, passes in VIEWS.items():
    features, directions = see(images, passes)
    result[view] = {
      kind: compare(features, directions, kind, options.draws.value) for kind in kinds
    }
    print(view, result[view], flush=True)
    keep_means(options.output.value, _COMMAND, result)


if __name__ == '__main__':
  run_command(main, draws=10, output=RESULT, folders=('data_dir', 'xray_dir'))
