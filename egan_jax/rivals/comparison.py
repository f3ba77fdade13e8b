"""All rivals on the same images and draws: one call, one table."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from egan_jax.checks import check_share
from egan_jax.errors import UserError
from egan_jax.evaluation import metrics
from egan_jax.evaluation.threshold_rule import ThresholdRule
from egan_jax.rivals import registry
from egan_jax.rivals.decision import Decision, decide
from egan_jax.rivals.head import HeadTraining, pool_features
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import BOUNDARY, FEATURES
from egan_jax.steps import count_images


def compare(
  majority: Any,
  minority: Any,
  test: Any,
  test_is_minority: np.ndarray,
  training: HeadTraining | None = None,
  names: Sequence[str] | None = None,
  seed: int = 0,
  specificity: float = 0.95,
  held_out_share: float = 0.2,
  prior: float | None = None,
  calibrate: bool = False,
  class_directions: np.ndarray | None = None,
) -> list[dict]:
  """Fits rivals on every draw and evaluates them on the test set.

  The threshold is chosen on scores of majority images by fits without them, as
  `decide` says: `target_specificity`. Test images are looked at, and their labels
  read, when all that is done.

  Args:
    majority: boundary activations of the majority images, `[M, h, w, c]` by layer
      name, shared by the draws; without `training`, their features `[M, C]`.
    minority: of each draw's minority images, `[D, n, ...]`.
    test: of the test images, `[T, ...]`.
    test_is_minority: bool `[T]`.
    training: the backbone and how heads are trained; features are those of the same
      head before training. Without it only rivals that read features are there.
    names: of `rivals.names()`; by default all that can be fitted.
    seed: of the held-out split and all fits.
    specificity: asked of each rival on held-out majority images.
    held_out_share: of the majority images, from rivals that train a head, the same
      share for all; more where the specificity takes more. Where there are too few
      of them, all are fitted on and the threshold is 0.
    prior: of `metrics.evaluate_scores`.
    calibrate: whether to add `PROBABILITY_METRICS`, of P(minority) at `prior` (by
      default the test set's) from held-out majority and left-out minority scores;
      it takes up to 20 more fits per draw, 5 of a head.
    class_directions: of `registry.get`, for the features.

  Returns:
    One dict per rival and draw: `rival`; `draw`, from 0; `metrics` at its
    `threshold`, with its `threshold_rule` and `promise`; `metrics_at_zero`, None
    where 0 is no decision of the rival's own; `from_one_image`, what it does with a
    single minority image; `note`, what it did otherwise than its name says, or '';
    `seconds`, a draw's share of fitting and scoring, compilation included.

  Raises:
    UserError: no such rival, one that needs `training` without it, scores that are
      not finite, or a specificity, share or prior outside (0, 1).
  """
  chosen = _choose(names, training, class_directions)
  rule = ThresholdRule('target_specificity', specificity=specificity)
  check_share('held_out_share', held_out_share)
  seeds = np.random.SeedSequence(seed).generate_state(count_images(minority)).tolist()
  inputs = {BOUNDARY: (majority, minority, test)}
  inputs[FEATURES] = inputs[BOUNDARY]
  if training is not None:
    inputs[FEATURES] = tuple(_pool(part, training) for part in inputs[BOUNDARY])

  rows = []
  for rival in chosen:
    *training_images, test_images = inputs[rival.reads]
    start = time.perf_counter()
    decisions = decide(
      rival,
      *training_images,
      seeds,
      training,
      rule,
      calibrate,
      split_seed=seed,
      held_out_share=held_out_share,
    )
    scores = [rival.score(decision.scorer, test_images) for decision in decisions]
    seconds = (time.perf_counter() - start) / len(seeds)
    rows += [
      {
        'rival': rival.name,
        'draw': draw,
        'threshold': decision.threshold.value,
        'threshold_rule': decision.threshold.rule,
        'promise': decision.threshold.promise,
        'from_one_image': rival.from_one_image,
        'note': '; '.join(decision.notes),
        'seconds': seconds,
        **_evaluate(rival, decision, scores[draw], test_is_minority, prior),
      }
      for draw, decision in enumerate(decisions)
    ]
  return rows


def _choose(
  names: Sequence[str] | None,
  training: HeadTraining | None,
  class_directions: np.ndarray | None,
) -> list[Rival]:
  if names is None:
    everyone = [registry.get(name, class_directions) for name in registry.names()]
    return [r for r in everyone if training is not None or r.reads == FEATURES]
  chosen = [registry.get(name, class_directions) for name in names]
  for rival in chosen:
    if training is None and rival.reads == BOUNDARY:
      raise UserError(
        f'the rival {rival.name!r} trains a head: give boundary activations and'
        ' training=rivals.HeadTraining(player)'
      )
  return chosen


def _evaluate(
  rival: Rival,
  decision: Decision,
  scores: np.ndarray,
  is_minority: np.ndarray,
  prior: float | None,
) -> dict:
  """`metrics` and `metrics_at_zero`: the only place where test labels are read."""
  result = metrics.evaluate_scores(scores, is_minority, decision.threshold.value, prior)
  if decision.calibration is not None:
    here = float(np.mean(is_minority)) if prior is None else prior
    probabilities = decision.calibration.probabilities(scores, here)
    result |= metrics.evaluate_probabilities(probabilities, is_minority, prior)
  at_zero = None
  if rival.decides_at_zero:
    at_zero = metrics.evaluate_scores(scores, is_minority, 0.0, prior)
  return {'metrics': result, 'metrics_at_zero': at_zero}


def _pool(images: Any, training: HeadTraining) -> np.ndarray:
  """Features `[..., C]` of activations `[..., h, w, c]`."""
  leading = jax.tree.leaves(images)[0].shape[:-3]
  flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[-3:]), images)
  return pool_features(flat, training).reshape(*leading, -1)
