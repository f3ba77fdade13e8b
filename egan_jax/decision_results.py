"""How the decisions of a run did on its test set: here test labels are read, once.

Everything was chosen before: `egan_jax.outcome`.
"""

import numpy as np
from scipy import stats

from egan_jax.evaluation import intervals, metrics, protocols
from egan_jax.outcome import Candidate, Outcome

DECISION_LABEL = (
  'honest: method, epoch and threshold from training images, test labels read once'
)
_SAME_ODDS = 1.25  # shares of the minority whose odds differ by less are shown as one
_NUM_RESAMPLES = 300  # some seconds with thousands of test images


def describe(
  outcome: Outcome, is_minority: np.ndarray, oracle: bool = False, prior: float = 0.5
) -> dict:
  """Method and threshold of every fold, and how they did on the test set.

  Test labels are read here, after everything was chosen.

  Args:
    outcome: what the run came to.
    is_minority: bool `[T]`, of the test images.
    oracle: whether test labels chose the last epoch of games.
    prior: share of the minority where decisions are made.

  Returns:
    `label` (the protocol), `method`, `backbones`, `why`, `threshold_rule`, `promise` (of the first
    fold, whose model is kept), `thresholds` (one per fold), `notes`, and `metrics`
    as of `intervals.over_draws`, over folds; None where the test set lacks a class. Of a
    single fold each also has the ends of its interval over test images, `low` and `high`,
    if they are known.
    `prior`, and `metrics_at_prior`: the same where the minority is that share, None
    where the test set has about that share.
  """
  decisions = outcome.chosen.decisions
  notes = sorted({note for decision in decisions for note in decision.notes})
  return {
    'label': protocols.ORACLE_STOP_LABEL
    if oracle and outcome.method == 'egan'
    else DECISION_LABEL,
    'method': outcome.method,
    'backbones': list(outcome.chosen.backbones),
    'why': outcome.why,
    'threshold_rule': decisions[0].threshold.rule,
    'promise': decisions[0].threshold.promise,
    'thresholds': [_to_json(decision.threshold.value) for decision in decisions],
    'notes': [*notes, *_compare_with_promise(outcome, is_minority)],
    'metrics': _evaluate(outcome.chosen, is_minority, with_intervals=True),
    'prior': prior,
    'metrics_at_prior': None
    if _is_about(prior, is_minority)
    else _evaluate(outcome.chosen, is_minority, prior),
  }


def _is_about(prior: float, is_minority: np.ndarray) -> bool:
  """Whether the minority is that share of the test set, by its odds."""
  found, others = is_minority.sum(), (~is_minority).sum()
  if not found or not others:
    return False
  ratio = prior * others / ((1 - prior) * found)
  return 1 / _SAME_ODDS <= ratio <= _SAME_ODDS


def _to_json(threshold: float) -> float | str:
  """In words where it is infinite, as JSON has no infinity."""
  return threshold if np.isfinite(threshold) else repr(float(threshold))


def _compare_with_promise(outcome: Outcome, is_minority: np.ndarray) -> list[str]:
  """A note where the test set's majority is called so less often than was promised.

  By Fisher's exact test at 0.001 against the held-out majority, at the threshold.
  """
  broken = []
  for decision, scores in zip(
    outcome.chosen.decisions, outcome.chosen.scores, strict=True
  ):
    tested = scores[~is_minority]
    held_out = decision.held_out_scores
    if decision.threshold.rule != 'target_specificity' or not len(tested):
      continue
    cut = decision.threshold.value
    table = [[np.sum(s >= cut), np.sum(s < cut)] for s in (tested, held_out)]
    if stats.fisher_exact(table, alternative='less').pvalue < 0.001:
      broken.append(np.mean(tested >= cut))
  if not broken:
    return []
  return [
    f'on the test set the specificity is {min(broken):.3f}, less than promised and than'
    ' chance explains: its majority images are unlike those trained on, and new ones'
    ' may be too'
  ]


def _evaluate(
  candidate: Candidate,
  is_minority: np.ndarray,
  prior: float | None = None,
  with_intervals: bool = False,
) -> dict | None:
  """Metrics over folds, each at its threshold; None where a class is missing.

  The prior is by default the test set's. Intervals are there of a single fold only.
  """
  if is_minority.all() or not is_minority.any():
    return None
  share = float(np.mean(is_minority)) if prior is None else prior
  arguments = []
  for decision, scores in zip(candidate.decisions, candidate.scores, strict=True):
    line = decision.calibration
    probabilities = None if line is None else line.probabilities(scores, share)
    arguments.append(
      (scores, is_minority, decision.threshold.value, prior, probabilities)
    )
  summary = intervals.over_draws([metrics.evaluate_scores(*a) for a in arguments])
  if with_intervals and len(arguments) == 1:
    ends = intervals.over_test_images(*arguments[0], num_resamples=_NUM_RESAMPLES)
    for name, of_metric in summary.items():
      of_metric |= {
        end: ends[name][end] for end in ('low', 'high') if end in ends[name]
      }
  return summary


def describe_candidates(
  outcome: Outcome, is_minority: np.ndarray, oracle: bool = False
) -> list[dict]:
  """A row for each method there was a choice of; arguments as of `describe`."""
  if len(outcome.candidates) == 1:
    return []
  return [
    {
      'rival': 'egan (oracle)' if oracle and name == 'egan' else name,
      'chosen': name == outcome.method,
      'threshold_rule': candidate.decisions[0].threshold.rule,
      'metrics': _evaluate(candidate, is_minority),
    }
    for name, candidate in outcome.candidates.items()
  ]
