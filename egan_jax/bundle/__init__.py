"""A finished model: all that a decision about an image takes, as one folder.

  model.json               what it is, in words and numbers
  weights.safetensors      the front, the scorer, held-out majority scores
  references.safetensors   training images to compare with, if they were kept

Nothing in it is code. The layers are those of the registry of backbones; model.json
says which, and every tensor must be what these layers expect.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from egan_jax import scorers
from egan_jax.backbones.trunk import Trunk
from egan_jax.bundle import files, networks
from egan_jax.bundle.files import REFERENCES, WEIGHTS, Misfit, Tensors, field
from egan_jax.bundle.references import THUMBNAIL_SIZE, References
from egan_jax.data.labelled_files import NOT_CLASSES
from egan_jax.environment import describe_environment
from egan_jax.errors import UserError
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.scorers import BOUNDARY, Scorer

_HELD_OUT = 'held_out_scores'


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
  """A method fitted to images, and how it decides.

  Attributes:
    method: 'egan' or a name of `rivals.names()`.
    backbones: names of the backbones in `front`.
    fine_tune_layers: how many of the last layers were trained.
    image_size: side, in pixels, of the squares that image files become.
    preprocess: 'scale' or 'imagenet', as of the config.
    front: from images to what the scorer reads: a cut `Trunk` if that is BOUNDARY.
    scorer: from there to scores.
    threshold: where the scores are cut.
    calibration: from scores to P(minority), if there is one.
    prior: P(minority) where decisions are made.
    minority_class: its name.
    majority_class: its name.
    training: of what it was trained, plain JSON; a NaN in it is kept as None.
    references: training images to compare with.
    held_out_scores: float32 `[n]` of majority images, none by a scorer it trained.
    held_out_folds: of how many fits these scores are; None for `scorer` itself.
  """

  method: str
  backbones: tuple[str, ...]
  fine_tune_layers: int
  image_size: int
  preprocess: str
  front: Trunk | FeatureExtractor
  scorer: Scorer
  threshold: Threshold
  calibration: Calibration | None
  prior: float
  minority_class: str
  majority_class: str
  training: Mapping[str, Any]
  references: References | None = None
  held_out_scores: np.ndarray | None = None
  held_out_folds: int | None = None

  def score(self, images: jax.Array) -> jax.Array:
    """Scores float32 `[B]` of images float `[B, H, W, 3]` in [0, 1]; traceable."""
    return self.scorer(self.front(images))

  def features(self, images: jax.Array) -> jax.Array:
    """Pooled features float32 `[B, C]` of the same, the scorer's own; traceable."""
    return pool(self.front, self.scorer, images)


def pool(
  front: Trunk | FeatureExtractor, scorer: Scorer, images: jax.Array
) -> jax.Array:
  """`Bundle.features` of a bundle's front and scorer, which are pytrees."""
  read = front(images)
  if scorer.reads != BOUNDARY:
    return read
  return scorers.pool(scorer.arrays, read, scorer.head).astype(jnp.float32)


def save(bundle: Bundle, folder: str | os.PathLike) -> None:
  """Writes a model to a folder, whole or not at all; an older model is replaced.

  Raises:
    UserError: the folder holds something else or cannot be written to; or a class is
      called what a decision for no class is.
    ValueError: `load` would refuse it: the threshold is NaN, the prior not in (0, 1),
      or the layers are not those that the registry has under these names.
  """
  if math.isnan(bundle.threshold.value) or not 0 < bundle.prior < 1:
    raise ValueError(f'threshold {bundle.threshold.value}, prior {bundle.prior}')
  if taken := {bundle.minority_class, bundle.majority_class} & {*NOT_CLASSES}:
    raise UserError(f'a class is called {taken.pop()!r}, which a decision may be')
  weights = networks.to_tensors(bundle.front, bundle.scorer)
  if bundle.held_out_scores is not None:
    weights[_HELD_OUT] = np.asarray(bundle.held_out_scores, np.float32)
  tensors = {WEIGHTS: weights}
  if bundle.references is not None:
    tensors[REFERENCES] = {
      'features': np.asarray(bundle.references.features, np.float32),
      'is_minority': np.asarray(bundle.references.is_minority, bool),
      'thumbnails': np.asarray(bundle.references.thumbnails, np.uint8),
    }
  files.write(folder, _describe(bundle), tensors)


def load(folder: str | os.PathLike) -> Bundle:
  """Reads a model from its folder, or from the workdir of the run that made it.

  Raises:
    UserError: there is none, or it is damaged, foreign or of a newer format.
  """
  folder = files.find(folder)
  content, tensors = files.read(folder)
  try:
    return _rebuild(content, tensors)
  except Misfit as misfit:
    raise UserError(
      f'the model in {folder} is none that this egan_jax can use: {misfit}'
    ) from misfit


def _describe(bundle: Bundle) -> dict[str, Any]:
  """What model.json says."""
  environment = describe_environment()
  threshold = dataclasses.asdict(bundle.threshold)
  return {
    'method': bundle.method,
    'backbones': list(bundle.backbones),
    'fine_tune_layers': bundle.fine_tune_layers,
    'image_size': bundle.image_size,
    'preprocess': bundle.preprocess,
    'front': networks.describe(bundle.backbones, bundle.front, bundle.scorer),
    'scorer': {'kind': bundle.scorer.kind, 'note': bundle.scorer.note},
    # In words, as JSON has no infinity.
    'threshold': {**threshold, 'value': repr(float(bundle.threshold.value))},
    'calibration': bundle.calibration and dataclasses.asdict(bundle.calibration),
    'prior': float(bundle.prior),
    'minority_class': bundle.minority_class,
    'majority_class': bundle.majority_class,
    'training': bundle.training,
    'held_out_folds': bundle.held_out_folds,
    'reference_names': bundle.references and bundle.references.names,
    'versions': {key: environment[key] for key in ('commit', 'python', 'versions')},
  }


def _rebuild(content: dict[str, Any], tensors: dict[str, Tensors]) -> Bundle:
  weights = dict(tensors[WEIGHTS])
  held_out_scores = weights.pop(_HELD_OUT, None)
  if held_out_scores is not None:
    _check(_HELD_OUT, held_out_scores, np.float32, (len(held_out_scores),))
  scorer = field(content, 'scorer', dict)
  front, scorer, num_features = networks.rebuild(
    field(content, 'front', list),
    field(scorer, 'kind', str),
    field(scorer, 'note', str),
    weights,
  )
  threshold = field(content, 'threshold', dict)
  calibration = content.get('calibration')
  minority_class, majority_class = (
    field(content, name, str) for name in ('minority_class', 'majority_class')
  )
  if minority_class == majority_class:
    raise Misfit(f'both classes are called {minority_class!r}')
  image_size = field(content, 'image_size', int)
  if image_size < 1:
    raise Misfit(f'image_size is {image_size}')
  prior = field(content, 'prior', float)
  if not 0 < prior < 1:
    raise Misfit(f'prior is {prior}')
  references = None
  if REFERENCES in tensors:
    names = field(content, 'reference_names', list)
    references = _rebuild_references(names, tensors[REFERENCES], num_features)
  folds = content.get('held_out_folds')
  if folds is not None and (type(folds) is not int or folds < 2):
    raise Misfit(f'held_out_folds is {folds}')
  return Bundle(
    method=field(content, 'method', str),
    backbones=tuple(description['backbone'] for description in content['front']),
    fine_tune_layers=field(content, 'fine_tune_layers', int),
    image_size=image_size,
    preprocess=field(content, 'preprocess', str),
    front=front,
    scorer=scorer,
    threshold=Threshold(
      _parse_threshold(field(threshold, 'value', str)),
      field(threshold, 'rule', str),
      field(threshold, 'promise', str),
    ),
    calibration=None if calibration is None else _rebuild_calibration(calibration),
    prior=prior,
    minority_class=minority_class,
    majority_class=majority_class,
    training=field(content, 'training', dict),
    references=references,
    held_out_scores=held_out_scores,
    held_out_folds=folds,
  )


def _parse_threshold(text: str) -> float:
  try:
    value = float(text)
  except ValueError:
    value = math.nan
  if math.isnan(value):
    raise Misfit(f'the threshold is {text!r}')
  return value


def _rebuild_calibration(content: Any) -> Calibration:
  calibration = Calibration(
    intercept=field(content, 'intercept', float),
    slope=field(content, 'slope', float),
    num_minority=field(content, 'num_minority', int),
    num_majority=field(content, 'num_majority', int),
    promise=field(content, 'promise', str),
  )
  if calibration.slope > 0:
    raise Misfit(f'slope is {calibration.slope}: P(minority) would rise with the score')
  return calibration


def _rebuild_references(names: list, tensors: Tensors, num_features: int) -> References:
  count = len(names)
  expected = {
    'features': (np.float32, (count, num_features)),
    'is_minority': (np.bool_, (count,)),
    'thumbnails': (np.uint8, (count, THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3)),
  }
  if {*tensors} != {*expected} or not all(isinstance(name, str) for name in names):
    raise Misfit('its references are not what a model keeps')
  for name, (dtype, shape) in expected.items():
    _check(name, tensors[name], dtype, shape)
  return References(names=tuple(names), **tensors)


def _check(name: str, tensor: np.ndarray, dtype: Any, shape: tuple[int, ...]) -> None:
  if tensor.dtype != dtype or tensor.shape != shape:
    raise Misfit(f'{name} is {tensor.dtype} {list(tensor.shape)}')
