"""Decisions from 1, 2, 10 and 100 minority images: the tables of docs/one_rare_image.md.

  python -m experiments.few_images --features_dir=DIR     # after few_images_features
  python -m experiments.few_images --render               # only writes the document

Every method gets the same images, draws and folds. Its threshold is chosen on scores
of majority images by fits without them (5 folds): at 5 % false alarms, or the highest
expected F1. Test images are scored, and their labels read, when that is done. Cells
are stored as they come, so a stopped command goes on where it was.
"""

import json
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from sklearn.model_selection import KFold

from egan_jax import feature_extractor, rivals, two_covariance
from egan_jax.errors import UserError
from egan_jax.evaluation import metrics, thresholds
from egan_jax.evaluation.score_models import FEWEST_SCORES
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.rivals import decision, fusion, held_out
from egan_jax.rivals.decision import ThresholdRule
from egan_jax.scorers import Scorer, score_linear
from experiments import few_images_store, few_images_tables
from experiments.few_images_measures import best_f1

RESULT = Path(__file__).parent / 'results' / 'few_images.json'
# Minority, majority, and how many minority images are drawn.
PROBLEMS = {
  'airplane/automobile': ('cifar10', 0, 1, (1, 2, 10, 100)),
  'bird/cat': ('cifar10', 2, 3, (1, 2, 10, 100)),
  'CIFAR-100 0/1': ('cifar100', 0, 1, (1, 2, 10)),
  'chest X-ray': ('xray', 'PNEUMONIA', 'NORMAL', (1, 2, 10, 30)),
}
NUM_FOLDS = 5
RIVALS = ('nearest_class_mean', 'logistic_balanced', 'logistic_logit_adjusted')
OTHER_RIVALS = ('class_mean_and_knn',)
ONE_CLASS_RIVALS = ('one_class_knn', 'mahalanobis')
# Each of its draws has as many images of the minority as of the majority.
SMOTE = 'smote_logistic'


class Problem:
  """Features of a problem: majority, minority in the order of drawing, and test."""

  def __init__(
    self, name: str, backbones: Sequence[str], size: int, folder: str, mirrored: bool
  ):
    dataset, minority, majority, self.numbers = PROBLEMS[name]

    def load(label, split):
      views = [
        [
          few_images_store.load(folder, dataset, label, split, backbone, size, flipped)
          for backbone in backbones
        ]
        for flipped in (False, True)[: 1 + mirrored]
      ]
      return np.mean(
        [np.concatenate(of_backbones, axis=1) for of_backbones in views], axis=0
      )

    self.majority = load(majority, 'train')
    pool = load(minority, 'train')
    if dataset == 'cifar100':
      pool = pool[few_images_store.order(len(pool))]
    self.minority = pool
    test = load(minority, 'test'), load(majority, 'test')
    self.test = np.concatenate(test)
    self.test_is_minority = np.arange(len(self.test)) < len(test[0])

  def draws(self, n: int, count: int) -> np.ndarray:
    """Disjoint draws `[D, n, C]`, as many as there are images for, at most `count`."""
    return self.minority[self.draw_indices(n, count)]

  def draw_indices(self, n: int, count: int) -> np.ndarray:
    """Of `draws`, int `[D, n]`."""
    count = min(count, len(self.minority) // n)
    # The first n of each stretch, so that larger draws hold the smaller ones.
    stretch = max(n, len(self.minority) // count)
    return stretch * np.arange(count)[:, None] + np.arange(n)


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


_score_neighbors = jax.jit(two_covariance.score_neighbors)
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
  rival = fusion.rival(directions, remembered=NUM_FOLDS + 1)
  folds = list(KFold(NUM_FOLDS, shuffle=True, random_state=0).split(problem.majority))
  results = {}
  for n in problem.numbers:
    minority = problem.draws(n, num_draws)
    seeds = [0] * len(minority)
    scorers = rival.fit_draws(problem.majority, minority, seeds)
    test = score_draws(scorers, problem.test)
    left = {
      name: np.empty((len(minority), len(problem.majority)), np.float32)
      for name in test
    }
    for fitted, kept in folds:
      fits = rival.fit_draws(problem.majority[fitted], minority, seeds)
      for name, scores in score_draws(fits, problem.majority[kept]).items():
        left[name][:, kept] = scores
    for draw, scorer in enumerate(scorers):
      for name in test:
        cuts = {'f1': _five_percent(left[name][draw])}
        if expected_f1 and name == 'fusion':
          left_out = None
          if n >= FEWEST_SCORES:
            left_out = held_out.left_out_scores(
              rival, problem.majority, minority[draw], num_folds=20
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


def main(options: types.SimpleNamespace) -> None:
  """Measures what is not stored yet and writes the document."""
  output = Path(options.output.value)
  stored = json.loads(output.read_text()) if output.exists() else {}
  if not options.render.value:
    for size in options.sizes.value:
      for name in options.problems.value:
        _run_problem(options, stored, output, name, size)
  few_images_tables.write(stored)


def _run_problem(
  options: types.SimpleNamespace, stored: dict, output: Path, name: str, size: str
) -> None:
  backbones = options.backbones.value.split('+')
  try:
    problem = Problem(
      name,
      backbones,
      int(size),
      options.features_dir.value,
      options.mirrored.value,
    )
  except FileNotFoundError as error:
    print(error)
    return
  jobs: dict[str, Callable] = {
    'fusion': lambda: run_fusion(
      problem,
      feature_extractor.class_directions(backbones, 'imagenet'),
      options.draws.value,
      options.expected.value,
    )
  }
  others = {
    **dict.fromkeys(RIVALS, options.draws.value),
    **dict.fromkeys(OTHER_RIVALS, options.draws.value if options.others.value else 0),
    **dict.fromkeys(ONE_CLASS_RIVALS, 1 if options.others.value else 0),
    SMOTE: options.smote_draws.value,
  }
  for rival, draws in others.items():
    if draws:
      jobs[rival] = lambda rival=rival, draws=draws: run_rival(problem, rival, draws)
  mirrored = ' mirrored' if options.mirrored.value else ''
  for method, job in jobs.items():
    keys = f'{name}|{options.backbones.value}{mirrored}|{size}'
    if any(key.startswith(f'{keys}|{method}|') for key in stored):
      continue
    try:
      results = job()
    except UserError as error:
      print(f'{keys}|{method}: {error}', flush=True)
      continue
    for (made, n), rows in results.items():
      stored[f'{keys}|{made}|{n}'] = {
        key: [round(float(row[key]), 5) for row in rows] for key in rows[0]
      }
      means = {key: np.mean([row[key] for row in rows]).round(4) for key in rows[0]}
      print(f'{keys}|{made}|{n}', *means.items(), flush=True)
    output.write_text(json.dumps(stored, indent=0, sort_keys=True) + '\n')


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  options = types.SimpleNamespace(
    features_dir=flags.DEFINE_string('features_dir', '', 'Of few_images_features.'),
    output=flags.DEFINE_string('output', str(RESULT), 'Where the results are kept.'),
    problems=flags.DEFINE_list('problems', list(PROBLEMS), 'Which.'),
    sizes=flags.DEFINE_list('sizes', ['224', '96', '32'], 'In pixels.'),
    backbones=flags.DEFINE_string(
      'backbones', 'EfficientNetLite0', 'One, or several joined by +.'
    ),
    mirrored=flags.DEFINE_bool(
      'mirrored',
      False,
      'Whether features are the mean of an image and its mirror image.',
    ),
    draws=flags.DEFINE_integer('draws', 20, 'Of the minority images.'),
    smote_draws=flags.DEFINE_integer('smote_draws', 5, 'Of the rival with SMOTE.'),
    others=flags.DEFINE_bool('others', True, 'Whether one-class and kNN rivals run.'),
    expected=flags.DEFINE_bool('expected_f1', True, 'Whether that rule is tried too.'),
    render=flags.DEFINE_bool('render', False, 'Only write the document.'),
  )
  app.run(lambda _: main(options))


if __name__ == '__main__':
  run_command()
