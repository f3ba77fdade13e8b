"""All rivals on the same images and draws: one call, one table."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from egan_jax.errors import UserError
from egan_jax.evaluation import calibration, metrics
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.checks import check_share
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.rivals import registry
from egan_jax.rivals.head import HeadTraining, pool_features
from egan_jax.rivals.held_out import leave_one_out_scores, split_majority
from egan_jax.rivals.rival import BOUNDARY, FEATURES, Rival, Scorer


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
) -> list[dict]:
  """Fits rivals on every draw and evaluates them on the test set.

  A share of the majority images is held out from all fits, the same for all rivals
  and draws, and the threshold is chosen on its scores: `target_specificity`. Test
  images are looked at, and their labels read, when all that is done.

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
    held_out_share: of the majority images; more where the specificity takes more.
      Where there are too few of them, all are fitted on and the threshold is 0.
    prior: of `metrics.evaluate_scores`.
    calibrate: whether to add `PROBABILITY_METRICS`, of P(minority) at `prior` (by
      default the test set's) from held-out majority and leave-one-out minority
      scores; it takes n more fits per draw.

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
  chosen = _choose(names, training)
  check_share('specificity', specificity)
  check_share('held_out_share', held_out_share)
  num_draws, num_majority = (_count(images) for images in (minority, majority))
  seeds = np.random.SeedSequence(seed).generate_state(num_draws).tolist()
  try:
    fitted, held_out = split_majority(num_majority, specificity, held_out_share, seed)
    images = _gather(majority, fitted), _gather(majority, held_out), minority, test
    too_few = ''
  except UserError as error:
    images = majority, None, minority, test
    too_few = str(error)
  inputs = {BOUNDARY: images, FEATURES: images}
  if training is not None:
    inputs[FEATURES] = tuple(
      None if part is None else _pool(part, training) for part in images
    )

  rows = []
  for rival in chosen:
    *training_images, test_images = inputs[rival.reads]
    start = time.perf_counter()
    decisions = _decide(
      rival, *training_images, seeds, training, specificity, too_few, calibrate
    )
    scores = [_score(rival, decision.scorer, test_images) for decision in decisions]
    seconds = (time.perf_counter() - start) / num_draws
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


@dataclasses.dataclass(frozen=True)
class _Decision:
  """All that a rival makes of the training images of one draw."""

  scorer: Scorer
  threshold: Threshold
  calibration: Calibration | None
  notes: tuple[str, ...]


def _choose(names: Sequence[str] | None, training: HeadTraining | None) -> list[Rival]:
  if names is None:
    everyone = [registry.get(name) for name in registry.names()]
    return [r for r in everyone if training is not None or r.reads == FEATURES]
  chosen = [registry.get(name) for name in names]
  for rival in chosen:
    if training is None and rival.reads == BOUNDARY:
      raise UserError(
        f'the rival {rival.name!r} trains a head: give boundary activations and'
        ' training=rivals.HeadTraining(player)'
      )
  return chosen


def _decide(
  rival: Rival,
  majority: Any,
  held_out: Any,
  minority: Any,
  seeds: Sequence[int],
  training: HeadTraining | None,
  specificity: float,
  too_few: str,
  calibrate: bool,
) -> list[_Decision]:
  """Everything that is fitted or chosen, for each draw: no test image comes here."""
  decisions = []
  for draw, scorer in enumerate(rival.fit_draws(majority, minority, seeds, training)):
    notes = [scorer.note] if scorer.note else []
    threshold = Threshold(0.0, 'zero', f'none: {too_few}')
    line = None
    if not too_few:
      held_out_scores = _score(rival, scorer, held_out)
      threshold = rival.choose_threshold(held_out_scores, specificity)
    if calibrate:
      try:
        if too_few:
          raise UserError(too_few)
        of_draw = _gather(minority, draw)
        left_out = leave_one_out_scores(rival, majority, of_draw, seeds[draw], training)
        line = calibration.fit(held_out_scores, left_out)
      except UserError as error:
        notes.append(f'no P(minority): {error}')
    decisions.append(_Decision(scorer, threshold, line, tuple(notes)))
  return decisions


def _evaluate(
  rival: Rival,
  decision: _Decision,
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


def _score(rival: Rival, scorer: Scorer, images: Any) -> np.ndarray:
  scores = scorer.scores(images)
  if not np.isfinite(scores).all():
    raise UserError(
      f'scores of the rival {rival.name!r} are not finite; try a lower learning_rate'
    )
  return scores


def _pool(images: Any, training: HeadTraining) -> np.ndarray:
  """Features `[..., C]` of activations `[..., h, w, c]`."""
  leading = jax.tree.leaves(images)[0].shape[:-3]
  flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[-3:]), images)
  return pool_features(flat, training).reshape(*leading, -1)


def _gather(images: Any, positions: Any) -> Any:
  return jax.tree.map(lambda a: a[positions], images)


def _count(images: Any) -> int:
  return jax.tree.leaves(images)[0].shape[0]
