"""Which rule chooses a threshold, by name and numbers: what a run can be told of it."""

import dataclasses

from egan_jax.checks import check_cost, check_share
from egan_jax.errors import UserError

RULES = (
  'zero',
  'target_specificity',
  'target_sensitivity',
  'minimum_cost',
  'expected_f1',
)


def default_rule(
  method: str, cost_false_negative: float = 1.0, cost_false_positive: float = 1.0
) -> str:
  """The paper's for the paper's method, else the highest F1 that can be expected.

  Where minority images are too few to leave out, the method's own forecast serves it, or
  else 'target_specificity' stands in for it. Costs that differ ask for 'minimum_cost'.
  """
  if cost_false_negative != cost_false_positive:
    return 'minimum_cost'
  return 'zero' if method == 'egan' else 'expected_f1'


@dataclasses.dataclass(frozen=True)
class ThresholdRule:
  """How to choose a threshold; see the function of that name in `thresholds`.

  Attributes:
    name: one of `RULES`.
    specificity: of 'target_specificity', and where another rule cannot be kept.
    sensitivity: of 'target_sensitivity'.
    cost_false_negative: of 'minimum_cost'.
    cost_false_positive: of 'minimum_cost'.
    prior: share of the minority where decisions are made, of 'minimum_cost' and
      'expected_f1'.

  Raises:
    UserError: there is no such rule, or a number is out of its range.
  """

  name: str = 'target_specificity'
  specificity: float = 0.95
  sensitivity: float = 0.9
  cost_false_negative: float = 1.0
  cost_false_positive: float = 1.0
  prior: float = 0.5

  def __post_init__(self):
    if self.name not in RULES:
      raise UserError(f'unknown rule {self.name!r}: choose one of {", ".join(RULES)}')
    for name in ('specificity', 'sensitivity', 'prior'):
      check_share(name, getattr(self, name))
    for name in ('cost_false_negative', 'cost_false_positive'):
      check_cost(name, getattr(self, name))

  @property
  def needs_left_out_scores(self) -> bool:
    """Whether it looks at scores of minority images that were left out."""
    return self.name in ('target_sensitivity', 'minimum_cost', 'expected_f1')


def make_rule(name: str, method: str, **numbers: float) -> ThresholdRule:
  """A rule by its name, 'default' being `default_rule` of the method.

  Args:
    name: one of `RULES`, or 'default'.
    method: that decides, 'egan' or a rival.
    **numbers: the other attributes of `ThresholdRule`.

  Raises:
    UserError: as of `ThresholdRule`.
  """
  if name == 'default':
    costs = numbers['cost_false_negative'], numbers['cost_false_positive']
    name = default_rule(method, *costs)
  return ThresholdRule(name, **numbers)
