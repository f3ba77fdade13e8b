"""A finished model on the device: decisions for images in memory or in files."""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from egan_jax import bundle as model_bundle
from egan_jax.backbones.preprocessing import resize, to_unit_range
from egan_jax.bundle import Bundle
from egan_jax.checks import check_count
from egan_jax.data import image_files
from egan_jax.data.batches import (
  Images,
  bound_batch_size,
  check_images,
  padded_batches,
)
from egan_jax.data.labelled_files import NOT_CLASSES
from egan_jax.errors import UserError
from egan_jax.evaluation import thresholds
from egan_jax.evaluation.thresholds import AbstainRegion, Threshold
from egan_jax.float32_products import in_float32

BATCH_SIZE = 32
ABSTAIN, UNREADABLE = NOT_CLASSES

Paths = Sequence[str | os.PathLike]
# A batch uint8 [B, H, W, 3] and, of each image in it before any padding, '' or why
# there is none.
_Batch = tuple[np.ndarray, list[str]]


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
  """What a model says of N images, in their order.

  Attributes:
    scores: float32 `[N]`; below the threshold means minority. NaN without an image.
    p_minority: P(minority) float64 `[N]`, or None if the model is not calibrated.
    decisions: `[N]` the name of a class, 'abstain' or 'unreadable'.
    threshold: below it means minority.
    errors: `[N]` why an image could not be read, else ''.
    region: the two cuts between which the decision is 'abstain', the threshold the
      lower one; None if every image is decided.
  """

  scores: np.ndarray
  p_minority: np.ndarray | None
  decisions: list[str]
  threshold: Threshold
  errors: list[str]
  region: AbstainRegion | None = None


class Predictor:
  """A model on the device, compiled once for batches of one shape.

  Attributes:
    bundle: the model.
    threshold: below it means minority.
    region: the two cuts if the model may abstain, the threshold the lower one.
    batch_size: images that are computed at once, always as many.
  """

  def __init__(
    self,
    model: Bundle | str | os.PathLike,
    threshold: float | None = None,
    target_specificity: float | None = None,
    batch_size: int = BATCH_SIZE,
    abstain: float | None = None,
  ):
    """Loads a model.

    Args:
      model: a bundle, its folder, or the workdir of a run.
      threshold: another cut than the model's own.
      target_specificity: or the share of majority images to be called majority, by
        which to choose one (`thresholds.target_specificity`).
      batch_size: fewer of large images; changes the scores by rounding only.
      abstain: or the share of majority images not to be called minority, while the
        model's own threshold keeps promising a sensitivity: no class is named between
        the two cuts (`choose_region`).

    Raises:
      UserError: there is no such model; more than one cut or an impossible one; the
        model keeps too few held-out scores for the specificity, or promises no
        sensitivity to abstain by; or the batch size is below 1.
    """
    check_count('batch_size', batch_size)
    if not isinstance(model, Bundle):
      model = model_bundle.load(model)
    self.bundle = model
    self.region = None
    if abstain is None:
      self.threshold = choose_threshold(model, threshold, target_specificity)
    elif threshold is not None or target_specificity is not None:
      raise UserError('give abstain, a threshold or a target_specificity: one of them')
    else:
      self.region = choose_region(model, abstain)
      self.threshold = self.region.minority
    self.batch_size = bound_batch_size(batch_size, model.image_size)
    self._networks = jax.device_put((model.front, model.scorer))

  def scores(self, images: Images | Paths) -> np.ndarray:
    """Scores float32 `[N]`; below the threshold means minority.

    Args:
      images: uint8 `[N, H, W, 3]`, or paths of image files.

    Raises:
      UserError: they are neither, or a file cannot be read.
    """
    return self._run_all(_score, images, ())

  def features(self, images: Images | Paths) -> np.ndarray:
    """Pooled features float32 `[N, C]`, otherwise like `scores`."""
    spec = jax.ShapeDtypeStruct((1, *[self.bundle.image_size] * 2, 3), np.float32)
    size = jax.eval_shape(model_bundle.pool, *self._networks, spec).shape[1]
    return self._run_all(_pool, images, (size,))

  def predict(self, images: Images | Paths) -> Predictions:
    """Decisions for images; files that cannot be read are no error.

    Args:
      images: uint8 `[N, H, W, 3]`, squashed to squares, or paths.

    Raises:
      UserError: images are neither.
    """
    scores, errors = [np.zeros(0, np.float32)], []
    for of_batch, problems in self._run(_score, self._read(images)):
      scores.append(of_batch)
      errors += problems
    return self._decide(np.concatenate(scores), errors)

  def stream(self, paths: Iterable[str | os.PathLike]) -> Iterator[Predictions]:
    """The same for any number of files, a batch at a time; memory is bounded."""
    with contextlib.closing(self._read_files(paths)) as batches:
      for scores, errors in self._run(_score, batches):
        yield self._decide(scores, errors)

  def _run_all(self, function: Callable, images: Images | Paths, shape) -> np.ndarray:
    parts = [np.zeros((0, *shape), np.float32)]
    for results, errors in self._run(function, self._read(images)):
      for row, error in enumerate(errors):
        if error:
          raise UserError(f'{images[sum(map(len, parts)) + row]} {error}')
      parts.append(results)
    return np.concatenate(parts)

  def _run(
    self, function: Callable, batches: Iterable[_Batch]
  ) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Results `[count, ...]` of each batch, and errors `[count]`.

    The device has the next batch before the results of one are waited for, and while
    it computes the one after that is read.
    """
    ahead = None
    for images, errors in batches:
      results = function(*self._networks, images)
      if ahead is not None:
        yield _collect(*ahead)
      ahead = results, errors
    if ahead is not None:
      yield _collect(*ahead)

  def _read(self, images: Images | Paths) -> Iterator[_Batch]:
    if isinstance(images, str | os.PathLike):
      raise UserError(f'{images}: give a list of paths, if only of one')
    if not hasattr(images, 'shape'):
      return self._read_files(_check_paths(images))
    check_images(images)
    size = self.bundle.image_size
    if images.shape[1:3] != (size, size):
      return self._squash(images)
    return (
      (batch, [''] * count) for batch, count in padded_batches(images, self.batch_size)
    )

  def _squash(self, images: Images) -> Iterator[_Batch]:
    """One by one, so that a batch of any images has one shape and few pixels."""
    size = self.bundle.image_size
    for start in range(0, images.shape[0], self.batch_size):
      chunk = images[start : start + self.batch_size]
      batch = np.zeros((self.batch_size, size, size, 3), np.float32)
      for row, image in enumerate(chunk):
        batch[row] = _resize(image, size)
      yield batch, [''] * len(chunk)

  def _read_files(self, paths: Iterable[str | os.PathLike]) -> Iterator[_Batch]:
    size = self.bundle.image_size
    with contextlib.closing(image_files.decode_many(paths, size)) as decoded:
      while chunk := list(itertools.islice(decoded, self.batch_size)):
        batch = np.zeros((self.batch_size, size, size, 3), np.uint8)
        errors = []
        for row, image in enumerate(chunk):
          readable = isinstance(image, np.ndarray)
          if readable:
            batch[row] = image
          errors.append('' if readable else image.reason)
        yield batch, errors

  def _decide(self, scores: np.ndarray, errors: list[str]) -> Predictions:
    bundle, calibration = self.bundle, self.bundle.calibration
    errors = [
      error or ('' if finite else 'has a score that is not finite')
      for error, finite in zip(errors, np.isfinite(scores), strict=True)
    ]
    region = self.region or AbstainRegion(self.threshold, self.threshold)
    names = {
      'minority': bundle.minority_class,
      'majority': bundle.majority_class,
      ABSTAIN: ABSTAIN,
    }
    return Predictions(
      scores=scores,
      p_minority=calibration and calibration.probabilities(scores, bundle.prior),
      decisions=[
        UNREADABLE if error else names[side]
        for side, error in zip(region.decide(scores), errors, strict=True)
      ],
      threshold=self.threshold,
      errors=errors,
      region=self.region,
    )


def choose_threshold(
  bundle: Bundle,
  threshold: float | None = None,
  target_specificity: float | None = None,
) -> Threshold:
  """A model's own threshold, or another; arguments and errors as of `Predictor`."""
  if threshold is not None and target_specificity is not None:
    raise UserError('give a threshold or a target_specificity, not both')
  if threshold is not None:
    if math.isnan(threshold):
      raise UserError('the threshold is not a number')
    return Threshold(float(threshold), 'given', 'none: it was given by hand')
  if target_specificity is None:
    return bundle.threshold
  if bundle.held_out_scores is None:
    raise UserError(
      'this model keeps no scores of majority images that were held out from training,'
      ' of which a target_specificity needs some: give a threshold instead'
    )
  return thresholds.target_specificity(
    bundle.held_out_scores, target_specificity, bundle.held_out_folds
  )


def choose_region(bundle: Bundle, specificity: float) -> AbstainRegion:
  """Where a model names no class, so that it keeps two promises at once.

  Args:
    bundle: a model whose own threshold promises a sensitivity.
    specificity: share of majority images not to be called minority, in (0, 1).

  Raises:
    UserError: its threshold promises something else; or as of `choose_threshold`.
  """
  if bundle.threshold.rule != 'target_sensitivity':
    raise UserError(
      "to abstain takes a model whose threshold promises a sensitivity, and this one's"
      f' is by {bundle.threshold.rule}: train with --config.threshold=target_sensitivity'
      ' and, if that gives way for too few images, a lower --config.target_sensitivity'
    )
  strict = choose_threshold(bundle, target_specificity=specificity)
  return thresholds.abstain_between(strict, bundle.threshold)


def _check_paths(paths: Iterable[Any]) -> list[str | os.PathLike]:
  paths = list(paths)
  for path in paths:
    if not isinstance(path, str | os.PathLike):
      raise UserError(
        f'{type(path).__name__} is no path of a file: give paths, or images as one'
        ' array, uint8 [N, H, W, 3]'
      )
  return paths


# Networks are pytrees: a second predictor of the same layers compiles nothing.
@jax.jit
@in_float32
def _score(front: Any, scorer: Any, images: jax.Array) -> jax.Array:
  return scorer(front(_scale(images)))


@jax.jit
@in_float32
def _pool(front: Any, scorer: Any, images: jax.Array) -> jax.Array:
  return model_bundle.pool(front, scorer, _scale(images))


def _scale(images: jax.Array) -> jax.Array:
  """Images in [0, 1]; those squashed are so already."""
  return to_unit_range(images) if images.dtype == np.uint8 else images


@functools.partial(jax.jit, static_argnames='image_size')
@in_float32
def _resize(image: jax.Array, image_size: int) -> jax.Array:
  return resize(to_unit_range(image[None]), image_size)[0]


def _collect(results: jax.Array, errors: list[str]) -> tuple[np.ndarray, list[str]]:
  """Waits for the results of a batch; those of padding go, those of no image are NaN."""
  results = np.array(results)[: len(errors)]
  results[[bool(error) for error in errors]] = np.nan
  return results, errors
