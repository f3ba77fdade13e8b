"""Which method to deploy, from what training images alone can show."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from egan_jax.errors import UserError
from egan_jax.rivals import registry
from egan_jax.rivals.decision import Decision

PREFERRED = 'fusion'
# Its 0 is where the classes are equally likely; that of `PREFERRED` means nothing.
PREFERRED_AT_ZERO = 'plda'


@dataclasses.dataclass(frozen=True)
class _Measurement:
  """How well training images are told apart that were left out.

  Attributes:
    of_minority: `[n]`, what each minority image contributes to the figure, its mean:
      half the AUROC and half the balanced accuracy.
    of_majority: `[m]`, likewise.
    balanced_accuracy: at the threshold.
    auroc: see above.
  """

  of_minority: np.ndarray
  of_majority: np.ndarray
  balanced_accuracy: float
  auroc: float

  @property
  def figure(self) -> float:
    return (self.balanced_accuracy + self.auroc) / 2


def choose(decisions: Mapping[str, Decision]) -> tuple[str, str]:
  """The method to deploy, by scores of training images left out of the fits.

  Each method is measured by the mean of its AUROC and its balanced accuracy at its
  threshold, of left-out minority against held-out majority scores. 'fusion' is chosen
  unless another is better by more than the standard error of the difference; if it is
  not there, the first. At the threshold 0 'plda' takes its place, and only methods are
  compared whose 0 means something. Nothing is compared where the minority images left
  out promise a sensitivity: a choice by them would favour cuts that flatter.

  The error is that of a mean of differences between two methods on the same
  minority images, with one more image on which one is perfect and the other wrong,
  and one the other way round (Agresti & Min, "Simple improved confidence intervals
  for comparing matched proportions", 2005): two or three images that happen to agree
  are no certainty. The majority images add what they vary by (DeLong et al. 1988).

  Args:
    decisions: of each method, in the order of preference among equals, all of one
      draw: others would count images again, or images that this one does not have.

  Returns:
    The name, and a sentence that says why.

  Raises:
    UserError: there is no method.
  """
  if not decisions:
    raise UserError('there is no method to choose from')
  preferred = PREFERRED if PREFERRED in decisions else next(iter(decisions))
  at_zero = decisions[preferred].threshold.rule == 'zero'
  if at_zero and PREFERRED_AT_ZERO in decisions:
    preferred = PREFERRED_AT_ZERO
  if decisions[preferred].threshold.rule == 'target_sensitivity':
    return preferred, (
      f'{preferred} is deployed as the default: the minority images that promise a'
      ' sensitivity cannot choose the method as well'
    )
  measured = {
    name: _measure(decision)
    for name, decision in decisions.items()
    if decision.held_out_scores is not None
    and decision.left_out_scores is not None
    and (not at_zero or registry.get(name).decides_at_zero)
  }
  if at_zero and preferred not in measured:
    preferred = next(iter(measured), preferred)
  if preferred not in measured:
    return preferred, (
      f'{preferred} is deployed as the default: the training images are too few to'
      ' leave any out of its fits, so nothing can be measured; a single minority image'
      ' leaves none'
    )
  reference = measured[preferred]
  better = {}
  for name, measurement in measured.items():
    gain, error = _compare(measurement, reference)
    if name != preferred and gain > error:
      better[name] = gain, error
  basis = (
    f'on {len(reference.of_minority)} minority images left out of the fits and'
    f' {len(reference.of_majority)} majority images'
  )
  if not better:
    return preferred, (
      f'{preferred} is deployed because no other of the {len(measured)} methods'
      f' measured is better than it by more than the standard error {basis}:'
      f' {_describe(reference)}'
    )
  best = max(better, key=lambda name: measured[name].figure)
  gain, error = better[best]
  return best, (
    f'{best} is deployed because {basis} it is better than {preferred} by'
    f' {measured[best].figure - reference.figure:.3f}, which drawn towards 0 for few'
    f' images is {gain:.3f}, more than the standard error of {error:.3f}:'
    f' {_describe(measured[best])}, against {_describe(reference)}'
  )


def _measure(decision: Decision) -> _Measurement:
  majority, minority = decision.held_out_scores, decision.left_out_scores
  # How much of the other class is on the right side of each image.
  wins = (minority[:, None] < majority) + 0.5 * (minority[:, None] == majority)
  found = decision.threshold.calls_minority(minority)
  left_alone = ~decision.threshold.calls_minority(majority)
  accuracy = (found.mean() + left_alone.mean()) / 2
  return _Measurement(
    (wins.mean(axis=1) + (found + left_alone.mean()) / 2) / 2,
    (wins.mean(axis=0) + (left_alone + found.mean()) / 2) / 2,
    float(accuracy),
    float(wins.mean()),
  )


def _compare(one: _Measurement, other: _Measurement) -> tuple[float, float]:
  """How much better `one` is, drawn towards 0, and the standard error of that."""
  gains = np.append(one.of_minority - other.of_minority, (1.0, -1.0))
  variance = gains.var() / len(gains)
  if len(one.of_majority) == len(other.of_majority):
    of_majority = one.of_majority - other.of_majority
    variance += of_majority.var() / len(of_majority)
  else:  # not the same images were held out
    for part in (one.of_majority, other.of_majority):
      variance += part.var() / len(part)
  return float(gains.mean()), float(np.sqrt(variance))


def _describe(measurement: _Measurement) -> str:
  return (
    f'balanced accuracy {measurement.balanced_accuracy:.3f}, AUROC'
    f' {measurement.auroc:.3f}'
  )
