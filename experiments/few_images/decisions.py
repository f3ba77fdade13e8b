"""What methods decide about the test images of a problem.

Every method gets the same images, draws and folds. Its threshold is chosen on scores
of majority images by fits without them (5 folds): at 5 % false alarms, or the highest
expected F1. Test images are scored, and their labels read, when that is done.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import KFold

from egan_jax import rivals, two_covariance
from egan_jax.evaluation import metrics, thresholds
from egan_jax.evaluation.score_models import FEWEST_SCORES
from egan_jax.evaluation.threshold_rule import ThresholdRule
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.float32_products import in_float32
from egan_jax.rivals import decision, fusion, held_out
from egan_jax.scorers import Scorer, score_linear
from experiments.few_images.measures import best_f1
from experiments.few_images.problems import Problem

NUM_FOLDS = 5
RIVALS = ('nearest_class_mean', 'logistic_balanced', 'logistic_logit_adjusted')
OTHER_RIVALS = ('class_mean_and_knn',)
ONE_CLASS_RIVALS = ('one_class_knn', 'mahalanobis')
# Each of its draws has as many images of the minority as of the majority.
SMOTE = 'smote_logistic'


def score_draws(scorers: Sequence[Scorer], features: np.ndarray) -> dict:
  """Scores `[D, N]` of 'fusion' scorers fitted together, and of their parts.

  What `Scorer.scores` gives, but what the draws share is computed once.
  """
  arrays = [scorer.arrays for scorer in scorers]
  of_knn = [a['plda_knn'] for a in arrays]
  first = of_knn[0]
  z = two_covariance.raise_to(jnp.asarray(features), first['plda']['power'])
  projected = np.asarray((z - first['plda']['centre']) @ first['plda']['projection'])
  knn = np.concatenate(
    [
      _score_neighbors(first['index'], features[i : i + 500])
      for i in range(0, len(features), 500)
    ]
  )
  alone = np.stack([_evaluate(a['plda'], projected) for a in of_knn])
  together = np.stack(
    [
      (ratio - a['plda_mean']) / a['plda_deviation']
      + a['knn_weight'] * (knn - a['knn_mean']) / a['knn_deviation']
      for ratio, a in zip(alone, of_knn, strict=True)
    ]
  )
  fused = [
    (scores - a['plda_knn_mean']) / a['plda_knn_deviation']
    + a['logistic_weight']
    * (score_linear(a['logistic'], z) - a['logistic_mean'])
    / a['logistic_deviation']
    for scores, a in zip(together, arrays, strict=True)
  ]
  return {'plda': alone, 'plda_knn': together, 'fusion': np.stack(fused)}


_score_neighbors = jax.jit(in_float32(two_covariance.score_neighbors))
_evaluate = jax.jit(two_covariance.evaluate)


def run_fusion(
  problem: Problem,
  directions: np.ndarray | None,
  num_draws: int,
  expected_f1: bool = True,
) -> dict[tuple[str, int], list[dict]]:
  """Rows per draw of 'fusion' and its parts, by method and number of images.

  `best_f1` of a row is of the cut that is best on the test labels.
  """
  rival = fusion.rival(directions)
  known = rival.measure(problem.majority)
  folds = [
    (rival.measure(problem.majority[fitted]), kept)
    for fitted, kept in KFold(NUM_FOLDS, shuffle=True, random_state=0).split(
      problem.majority
    )
  ]
  results = {}
  for n in problem.numbers:
    minority = problem.draws(n, num_draws)
    seeds = [0] * len(minority)
    scorers = rival.fit_draws(known, minority, seeds)
    test = score_draws(scorers, problem.test)
    left = {
      name: np.empty((len(minority), len(problem.majority)), np.float32)
      for name in test
    }
    for known_of_fold, kept in folds:
      fits = rival.fit_draws(known_of_fold, minority, seeds)
      for name, scores in score_draws(fits, problem.majority[kept]).items():
        left[name][:, kept] = scores
    for draw, scorer in enumerate(scorers):
      for name in test:
        cuts = {'f1': _five_percent(left[name][draw])}
        if expected_f1 and name == 'fusion':
          left_out = None
          if n >= FEWEST_SCORES:
            left_out = held_out.left_out_scores(
              rival, known, minority[draw], num_folds=20
            )
          cuts['f1_expected'] = _expected_f1(scorer, left[name][draw], left_out)
        scores, is_minority = test[name][draw], problem.test_is_minority
        row = _evaluate_at(cuts, scores, is_minority)
        row['best_f1'] = best_f1(scores[is_minority], scores[~is_minority])
        results.setdefault((name, n), []).append(row)
  return results


def _five_percent(majority_scores: np.ndarray) -> Threshold:
  return thresholds.target_specificity(majority_scores, 0.95, NUM_FOLDS)


def _expected_f1(
  scorer: Scorer, majority_scores: np.ndarray, left_out: np.ndarray | None
) -> Threshold:
  rule = ThresholdRule('expected_f1')
  return decision.decide_from_scores(
    scorer, majority_scores, left_out, rule, num_folds=NUM_FOLDS
  ).threshold


def _evaluate_at(
  cuts: dict[str, Threshold], scores: np.ndarray, is_minority: np.ndarray
) -> dict:
  """F1 at each cut, and at that called 'f1' what else is of interest."""
  values = {
    name: metrics.evaluate_scores(scores, is_minority, cut.value, 0.5)
    for name, cut in cuts.items()
  }
  others = {key: values['f1'][key] for key in ('auroc', 'recall', 'specificity')}
  return {name: of_cut['f1'] for name, of_cut in values.items()} | others


def run_rival(
  problem: Problem, name: str, num_draws: int
) -> dict[tuple[str, int], list[dict]]:
  """Rows of another rival, by `rivals.decide`, at 5 % false alarms only."""
  results = {}
  rival = rivals.get(name)
  for n in problem.numbers:
    minority = problem.draws(n, num_draws)
    decisions = rivals.decide(rival, problem.majority, minority, [0] * len(minority))
    results[name, n] = [
      _evaluate_at(
        {'f1': made.threshold},
        rival.score(made.scorer, problem.test),
        problem.test_is_minority,
      )
      for made in decisions
    ]
  return results
