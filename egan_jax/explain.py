"""Why a model decided as it did: a panel per image.

Each panel shows the image, where the evidence for the decision lies in it (Grad-CAM),
and the training images of each class it is most like.
"""

import dataclasses
import math
import os
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from egan_jax import grad_cam, scorers
from egan_jax.backbones import preprocessing
from egan_jax.bundle import Bundle, pool
from egan_jax.bundle.references import References
from egan_jax.data import image_files
from egan_jax.data.image_files import UnreadableImageError
from egan_jax.errors import UserError
from egan_jax.float32_products import in_float32
from egan_jax.reporting.explanation_figure import draw_explanation

NUM_NEAREST = 3

_LONGEST_STEM = 150  # bytes
_LARGEST_RATIO = 1e6
# It overstates what it knows; P(minority) is what becomes of it where scores were held out.
_BY_MODEL = 'by the two-covariance model, which is not calibrated,'


@dataclasses.dataclass(frozen=True)
class Nearest:
  """Training images of one class, the most similar first.

  Attributes:
    names: `[K]`.
    similarities: cosines of the features, float `[K]`.
    thumbnails: uint8 `[K, 64, 64, 3]`.
  """

  names: tuple[str, ...]
  similarities: np.ndarray
  thumbnails: np.ndarray


@dataclasses.dataclass(frozen=True)
class Explanation:
  """A decision with its reasons.

  Attributes:
    score: below the threshold it means minority.
    is_minority: the decision.
    p_minority: None without a calibration.
    log_ratio: of the likelihoods of its features in majority and minority, where the
      method models them, be it in part; else None.
    evidence: float `[S, S]`, at least 0: how much each part of the image spoke for the
      decision, in units of the score.
    nearest_minority: None without references of the class.
    nearest_majority: likewise.
  """

  score: float
  is_minority: bool
  p_minority: float | None
  log_ratio: float | None
  evidence: np.ndarray
  nearest_minority: Nearest | None
  nearest_majority: Nearest | None


def explain(
  model: Bundle,
  paths: Iterable[str | os.PathLike],
  folder: str | os.PathLike,
  numbers: Iterable[int] | None = None,
) -> list[Path | None]:
  """Writes a panel for every image; one image at a time is in memory.

  Args:
    model: the model.
    paths: image files.
    folder: where the panels go, named after number and image: 00000_cat.png.
    numbers: of the images; by default they are counted from 0.

  Returns:
    The panels' paths; None for an image that cannot be read.

  Raises:
    UserError: the folder cannot be written to.
  """
  folder, paths = Path(folder), list(paths)
  numbers = range(len(paths)) if numbers is None else numbers
  written = []
  images = image_files.decode_many(paths, model.image_size)
  for number, path, image in zip(numbers, paths, images, strict=True):
    if isinstance(image, UnreadableImageError):
      written.append(None)
      continue
    stem = os.fsencode(Path(path).stem)[:_LONGEST_STEM].decode(errors='ignore')
    panel = folder / f'{number:05d}_{stem}.png'
    explanation = explain_image(model, image)
    try:
      draw_explanation(
        image,
        explanation,
        panel,
        title=f'{Path(path).name}: {name_decision(model, explanation)}',
        words=describe(model, explanation),
        class_names=(model.minority_class, model.majority_class),
      )
    except OSError as error:
      raise UserError(f'cannot write {panel}: {error.strerror}') from error
    written.append(panel)
  return written


def explain_image(model: Bundle, image: np.ndarray) -> Explanation:
  """The decision about an image uint8 `[S, S, 3]`, and what it rests on."""
  score, contributions, features = _examine(model.front, model.scorer, image)
  score = float(score)
  is_minority = bool(model.threshold.calls_minority(score))
  p_minority = None
  if model.calibration is not None:
    p_minority = float(model.calibration.probabilities(score, model.prior))
  contributions, features = np.asarray(contributions), np.asarray(features)
  log_ratio = scorers.log_likelihood_ratio(model.scorer, features[None])
  return Explanation(
    score=score,
    is_minority=is_minority,
    p_minority=p_minority,
    log_ratio=None if log_ratio is None else float(log_ratio[0]),
    evidence=np.maximum(-contributions if is_minority else contributions, 0),
    nearest_minority=find_nearest(model.references, features, True),
    nearest_majority=find_nearest(model.references, features, False),
  )


def find_nearest(
  references: References | None, features: np.ndarray, is_minority: bool
) -> Nearest | None:
  """The references of a class that are most like an image.

  Args:
    references: training images, or None.
    features: `[C]` of the image, as of `Bundle.features`.
    is_minority: of which class.
  """
  if references is None:
    return None
  of_class = np.flatnonzero(references.is_minority == is_minority)
  if not len(of_class):
    return None
  vectors = references.features[of_class]
  norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(features)
  cosines = vectors @ features / np.maximum(norms, np.finfo(np.float32).tiny)
  best = np.argsort(-cosines, kind='stable')[:NUM_NEAREST]
  return Nearest(
    names=tuple(references.names[index] for index in of_class[best]),
    similarities=cosines[best],
    thumbnails=references.thumbnails[of_class[best]],
  )


def name_decision(model: Bundle, explanation: Explanation) -> str:
  """The name of the class that was called."""
  return model.minority_class if explanation.is_minority else model.majority_class


def describe(model: Bundle, explanation: Explanation) -> list[str]:
  """The decision in sentences: score, threshold, P(minority), likelihood ratio."""
  side = 'below' if explanation.is_minority else 'not below'
  sentences = [
    f'{model.method}: score {explanation.score:.4g}, {side} the threshold'
    f' {model.threshold.value:.4g} ({model.threshold.rule})'
  ]
  if explanation.p_minority is not None:
    sentences.append(
      f'P({model.minority_class}) = {explanation.p_minority:.3g} where its share is'
      f' {model.prior:.3g}'
    )
  if explanation.log_ratio is not None:
    names = model.minority_class, model.majority_class
    sentences.append(describe_ratio(explanation.log_ratio, *names))
  return sentences


def describe_evidence(model: Bundle, features: np.ndarray) -> list[str]:
  """What the decision about an image of features `[C]` rests on, a sentence each.

  The likelihood ratio, if the method has one, and the most similar reference of each
  class.
  """
  names = model.minority_class, model.majority_class
  sentences = []
  log_ratio = scorers.log_likelihood_ratio(model.scorer, features[None])
  if log_ratio is not None:
    sentences.append(describe_ratio(float(log_ratio[0]), *names))
  for name, is_minority in zip(names, (True, False), strict=True):
    nearest = find_nearest(model.references, features, is_minority)
    if nearest is not None:
      sentences.append(
        f'most like it of {name}: {nearest.names[0]}'
        f' (cosine {nearest.similarities[0]:.3f})'
      )
  return sentences


def describe_ratio(log_ratio: float, minority_class: str, majority_class: str) -> str:
  """log p(features | majority) / p(features | minority) in words."""
  if abs(log_ratio) < math.log(1.1):
    return (
      f'{_BY_MODEL} such features are as likely in {minority_class} as in'
      f' {majority_class}'
    )
  if abs(log_ratio) > math.log(_LARGEST_RATIO):
    times = 'more than a million'
  else:
    ratio = math.exp(abs(log_ratio))
    times = f'{ratio:.2g}' if ratio < 100 else f'{ratio:,.0f}'
  likelier, other = majority_class, minority_class
  if log_ratio < 0:
    likelier, other = other, likelier
  return (
    f'{_BY_MODEL} such features are {times} times as likely in {likelier} as in {other}'
  )


@jax.jit
@in_float32
def _examine(front, scorer, image):
  """Score `[]`, contributions `[S, S]` and features `[C]` of a uint8 image."""
  image = preprocessing.to_unit_range(image)
  score, contributions = grad_cam.map_score(front, scorer, image)
  return score, contributions, pool(front, scorer, image[None])[0]
