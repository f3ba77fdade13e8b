"""From training images to a decision: scorer, threshold and P(minority).

No test image or label comes here. Methods that read features are fitted on all
majority images, and their thresholds come from folds left out in turn; those that
train a head take long, and hold one share of the majority out from all fits.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from egan_jax.errors import UserError
from egan_jax.evaluation import calibration, epoch_choice, score_models, thresholds
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.threshold_rule import ThresholdRule
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.rivals import held_out
from egan_jax.rivals.rival import Rival
from egan_jax.scorers import BOUNDARY, FEATURES, Scorer

# What stands in where held-out majority images are too few for the specificity asked for.
_HIGHEST_SPECIFICITY = 'highest_specificity'
# How many fits leave minority images out, at most; of a head, each is a training.
NUM_MINORITY_FOLDS = {FEATURES: 20, BOUNDARY: 5}


def split_majority_of_game(
  num_majority: int, rule: ThresholdRule, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
  """`held_out.split_majority` for a game, which at the paper's 0 trains on all."""
  if rule.name == 'zero':
    return np.arange(num_majority), np.arange(0), 'the paper holds no image out'
  return held_out.split_majority(num_majority, rule.specificity, share, seed)


@dataclasses.dataclass(frozen=True)
class Decision:
  """All that a method makes of the training images of one draw.

  Attributes:
    scorer: fitted.
    threshold: chosen by the rule asked for or, where that cannot be kept, by
      'target_specificity', as high as it can be, or else 'zero', which its promise
      then says.
    calibration: P(minority) of scores, if asked for and possible.
    notes: what was done otherwise than asked for, and why.
    held_out_scores: `[m]` of majority images by fits without them, or None.
    left_out_scores: `[n]` of the minority images by fits without them, or None.
    num_folds: of how many fits the held-out scores are; None for the scorer itself.
  """

  scorer: Scorer
  threshold: Threshold
  calibration: Calibration | None
  notes: tuple[str, ...]
  held_out_scores: np.ndarray | None
  left_out_scores: np.ndarray | None
  num_folds: int | None = None


# Threads of linear algebra spin while they wait for each other: with other jobs on the
# machine a fit of seconds takes minutes.
@threadpool_limits.wrap(limits=1, user_api='blas')
def decide(
  rival: Rival,
  majority: Any,
  minority: Any,
  seeds: Sequence[int],
  training: Any = None,
  rule: ThresholdRule | None = None,
  calibrate: bool = False,
  split_seed: int = 0,
  held_out_share: float = 0.2,
) -> list[Decision]:
  """Fits a method to each draw and chooses its threshold.

  Args:
    rival: the method.
    majority: what it reads of the majority images, `[M, ...]`, shared by the draws.
    minority: of each draw's minority images, `[D, n, ...]`.
    seeds: of each draw's fits, `[D]`.
    training: a `HeadTraining`, for methods that read BOUNDARY.
    rule: of the threshold; by default `ThresholdRule()`.
    calibrate: whether to fit P(minority).
    split_seed: of the majority's folds or held-out share.
    held_out_share: of the majority, for methods that read BOUNDARY; more where the
      specificity takes more.

  Returns:
    D decisions.

  Raises:
    UserError: scores are not finite.
  """
  rule = rule or ThresholdRule()
  if rival.reads == FEATURES:
    fit = held_out.fit_crosswise(rival, majority, minority, seeds, split_seed)
  else:
    split = rule.specificity, held_out_share, split_seed
    fit = held_out.fit_and_hold_out(rival, majority, minority, seeds, training, *split)
  decisions = []
  for draw, scorer in enumerate(fit.scorers):
    left_out_scores, missing = None, ''
    if calibrate or rule.needs_left_out_scores:
      try:
        left_out_scores = held_out.left_out_scores(
          rival,
          fit.known,
          jax.tree.map(lambda a, d=draw: a[d], minority),
          seeds[draw],
          training,
          NUM_MINORITY_FOLDS[rival.reads],
        )
      except UserError as error:
        missing = str(error)
    decision = decide_from_scores(
      scorer,
      None if fit.scores is None else fit.scores[draw],
      left_out_scores,
      ThresholdRule('zero') if rival.always_at_zero else rule,
      calibrate,
      fit.num_folds,
      fit.missing,
      missing,
    )
    decisions.append(decision)
  return decisions


def decide_from_scores(
  scorer: Scorer,
  held_out_scores: np.ndarray | None,
  left_out_scores: np.ndarray | None,
  rule: ThresholdRule,
  calibrate: bool = False,
  num_folds: int | None = None,
  no_held_out: str = 'no majority image was held out',
  no_left_out: str = 'no minority image was left out',
) -> Decision:
  """The decision of a scorer, however it was trained.

  Args:
    scorer: fitted.
    held_out_scores: `[m]` of majority images that did not train what scored them.
    left_out_scores: `[n]` of minority images likewise.
    rule: of the threshold.
    calibrate: whether to fit P(minority).
    num_folds: of how many fits the held-out scores are; None for the scorer itself.
    no_held_out: why there are no held-out scores, if there are none.
    no_left_out: why there are no left-out scores, if there are none.
  """
  notes = [scorer.note] if scorer.note else []

  def of_majority():
    return _check_there(held_out_scores, no_held_out)

  def of_minority():
    return _check_there(left_out_scores, no_left_out)

  def choose(name: str) -> Threshold:
    if name == 'target_specificity':
      return thresholds.target_specificity(of_majority(), rule.specificity, num_folds)
    if name == 'target_sensitivity':
      return thresholds.target_sensitivity(of_minority(), rule.sensitivity)
    if name == 'minimum_cost':
      line = calibration.fit(of_majority(), of_minority())
      costs = rule.cost_false_negative, rule.cost_false_positive
      return thresholds.minimum_cost(line, *costs, rule.prior)
    if name == 'expected_f1':
      if scorer.minority_score_distribution is None:
        model = score_models.from_left_out(of_minority(), of_majority())
        return thresholds.expected_f1(of_majority(), model, rule.prior)
      model = score_models.from_method(*scorer.minority_score_distribution)
      threshold = thresholds.expected_f1(of_majority(), model, rule.prior)
      if np.isinf(threshold.value):  # a forecast is too little to give up by
        raise UserError("by the method's own forecast it calls all minority")
      return threshold
    if name == _HIGHEST_SPECIFICITY:
      highest = thresholds.highest_specificity(len(of_majority()))
      return thresholds.target_specificity(of_majority(), highest, num_folds)
    return thresholds.zero()

  try:
    threshold = choose(rule.name)
  except UserError as error:
    threshold = _fall_back(rule.name, str(error), choose)
    notes.append(f'the rule {rule.name} cannot be kept: {error}')
  line = None
  if calibrate:
    try:
      line = calibration.fit(of_majority(), of_minority())
    except UserError as error:
      notes.append(f'no P(minority): {error}')
  return Decision(
    scorer, threshold, line, tuple(notes), held_out_scores, left_out_scores, num_folds
  )


def decide_game(
  scorer: Scorer,
  held_out_scores: np.ndarray | None,
  rule: ThresholdRule,
  calibrate: bool = False,
  no_held_out: str = 'no majority image was held out',
) -> Decision:
  """The decision of a game's discriminator; arguments as of `decide_from_scores`.

  No minority image can be left out of it: see `epoch_choice.MINORITY_CHOSE`.
  """
  return decide_from_scores(
    scorer,
    held_out_scores,
    None,
    rule,
    calibrate,
    no_held_out=no_held_out,
    no_left_out=epoch_choice.MINORITY_CHOSE,
  )


def _check_there(scores: np.ndarray | None, missing: str) -> np.ndarray:
  if scores is None:
    raise UserError(missing)
  return scores


def _fall_back(name: str, error: str, choose: Callable[[str], Threshold]) -> Threshold:
  """The threshold where the rule asked for cannot be kept."""
  reasons = [error]
  for instead in ('target_specificity', _HIGHEST_SPECIFICITY):
    if instead == name:
      continue
    try:
      threshold = choose(instead)
    except UserError as other:
      reasons.append(str(other))
      continue
    stands_in = f'It stands in for {name}: {"; ".join(dict.fromkeys(reasons))}'
    return dataclasses.replace(threshold, promise=f'{threshold.promise}. {stands_in}')
  return Threshold(0.0, 'zero', f'none: {"; ".join(dict.fromkeys(reasons))}')
