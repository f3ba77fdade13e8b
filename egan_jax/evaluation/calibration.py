"""P(minority) of a score, from the few minority scores there are.

A score is a logit of "real majority against generated", not a probability of either
class. P(minority) and P(majority) sum to 1 by definition; that two scores need not
does not remove any uncertainty about the model.
"""

import dataclasses

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from egan_jax.checks import check_held_out_scores, check_share


@dataclasses.dataclass(frozen=True)
class Calibration:
  """A straight line from scores to what they say about the class.

  log p(score | minority) / p(score | majority) = intercept + slope * score. It holds
  no prior: that of the world the user decides in comes with each question.

  Attributes:
    intercept: the log likelihood ratio of the score 0.
    slope: per unit of score; never above 0, as a high score means majority.
    num_minority: how many minority scores it was fitted on.
    num_majority: how many majority scores.
    promise: in words, what it can be relied on for.
  """

  intercept: float
  slope: float
  num_minority: int
  num_majority: int
  promise: str

  def probabilities(self, scores: np.ndarray, prior: float) -> np.ndarray:
    """P(minority) `[N]` of scores `[N]` where the minority's share is `prior`.

    Raises:
      UserError: the prior is not in (0, 1).
    """
    check_share('prior', prior)
    scores = np.asarray(scores, np.float64)
    return expit(self.intercept + self.slope * scores + logit(prior))

  def score_of(self, log_odds: float, prior: float) -> float:
    """The score below which log P(minority) / P(majority) exceeds `log_odds`.

    Infinite where no score decides: with a slope of 0, P is the prior for all.

    Raises:
      UserError: the prior is not in (0, 1).
    """
    check_share('prior', prior)
    missing = log_odds - logit(prior) - self.intercept
    if self.slope == 0:
      return np.inf if missing < 0 else -np.inf
    return float(missing / self.slope)


def fit(majority_scores: np.ndarray, minority_scores: np.ndarray) -> Calibration:
  """Platt scaling with the training prior taken out again.

  A logistic regression of the class on the score against targets of
  (n + 1) / (n + 2) for the n minority scores and 1 / (m + 2) for the m majority
  scores: the posterior mean of each class's label under a uniform prior (Platt,
  "Probabilistic outputs for support vector machines", 1999, section 2.2). They keep
  the slope finite where the classes do not overlap, which with few minority scores
  is the rule, and pull towards "the score says nothing" the more the fewer there
  are. The odds of the targets' own mean are subtracted, not those of n and m, which
  differ for small n.

  Why this and not another: 1 to 10 minority scores can carry a location and hardly
  a spread, so one line is what can be fitted; a straight log likelihood ratio is
  exact for two Gaussians of equal spread, and monotone, so that it changes no
  ranking. Maximum likelihood, Firth's correction and a two-Gaussian likelihood
  ratio are sharper where the classes are far apart, but with one or two minority
  scores, or majority scores with heavy tails, now and then far worse than no score
  at all; this errs towards the prior. On fewer than about 10 minority scores it
  remains a rough guide.

  Args:
    majority_scores: `[m]` of majority images that did not train the scorer.
    minority_scores: `[n]` of minority images, each scored by a scorer that it did
      not train.

  Raises:
    UserError: a class has no score, as with a single minority image, which leaves
      none to score once it is left out.
    ValueError: scores are not finite or not of one dimension.
  """
  majority = check_held_out_scores('majority', majority_scores).astype(np.float64)
  minority = check_held_out_scores('minority', minority_scores).astype(np.float64)
  n, m = len(minority), len(majority)
  intercept, slope = _fit_line(majority, minority)
  if slope >= 0:
    # The minority scored no lower than the majority: the score says nothing.
    intercept, slope = 0.0, 0.0
  return Calibration(intercept, slope, n, m, _describe(n, m, informative=slope < 0))


def _fit_line(majority: np.ndarray, minority: np.ndarray) -> tuple[float, float]:
  """Intercept and slope of the log likelihood ratio."""
  n, m = len(minority), len(majority)
  scores = np.concatenate([minority, majority])
  centre, scale = scores.mean(), scores.std()
  if scale == 0:
    return 0.0, 0.0
  targets = np.where(np.arange(n + m) < n, (n + 1) / (n + 2), 1 / (m + 2))
  # A target t is an example of each class, weighted t and 1 - t.
  inputs = np.tile((scores - centre) / scale, 2)[:, None]
  classes = np.repeat([True, False], n + m)
  # The tolerance is of the mean over all scores, among which few are of the minority.
  regression = LogisticRegression(
    C=np.inf, solver='newton-cholesky', tol=1e-10, max_iter=1000
  ).fit(inputs, classes, sample_weight=np.concatenate([targets, 1 - targets]))
  slope = float(regression.coef_[0, 0] / scale)
  prior_log_odds = float(logit(targets.mean()))
  return float(regression.intercept_[0] - slope * centre) - prior_log_odds, slope


def _describe(num_minority: int, num_majority: int, informative: bool) -> str:
  if not informative:
    return (
      f'none: the {num_minority} minority scores are no lower than the {num_majority}'
      ' majority scores, so P(minority) is the prior whatever the score'
    )
  basis = (
    f'fitted on {num_minority} minority and {num_majority} majority scores, as good as'
    ' a straight log likelihood ratio is'
  )
  if num_minority < 10:
    return (
      f'a rough guide, drawn towards the prior: {basis}; so few minority scores show'
      ' where they lie and hardly how they spread'
    )
  return f'an estimate without a guarantee: {basis}'
