"""Which method is deployed, and the sentence that says why."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from egan_jax import rivals, scorers
from egan_jax.errors import UserError
from egan_jax.evaluation import thresholds
from egan_jax.rivals import Decision, choice, choose


def _decide(separation, seed=0, num_minority=10, num_majority=400, noise=1.0):
  """Scores of the same images, with the classes so far apart."""
  images = np.random.default_rng(99)
  majority = images.normal(size=num_majority)
  minority = images.normal(size=num_minority) - separation
  rng = np.random.default_rng(seed)
  majority = majority + 0.1 * noise * rng.normal(size=num_majority)
  minority = minority + 0.1 * noise * rng.normal(size=num_minority)
  threshold = thresholds.target_specificity(majority)
  scorer = scorers.make({'value': 0.0}, 'constant')
  return Decision(scorer, threshold, None, (), majority, minority)


def test_the_preferred_one_is_kept_unless_another_is_clearly_better():
  preferred = _decide(2.0)
  name, why = choose({'mahalanobis': _decide(2.1, 1), 'fusion': preferred})
  assert name == 'fusion' and 'no other of the 2 methods' in why
  name, why = choose({'fusion': preferred, 'a': _decide(4.5, 2), 'b': _decide(4.0, 3)})
  assert name == 'a' and 'better than fusion' in why
  name, _ = choose({'fusion': preferred, 'a': _decide(0.5, 2)})
  assert name == 'fusion'


def test_the_sentence_tells_the_difference_and_what_was_compared_with_the_error():
  fusion, other = _decide(0.3, num_minority=5), _decide(6.0, num_minority=5)
  _, why = choose({'fusion': fusion, 'other': other})
  better, worse = (choice._measure(decision).figure for decision in (other, fusion))
  gain = better - worse
  assert f'by {gain:.3f}, which drawn towards 0 for few images is' in why
  assert f' is {gain * 5 / 7:.3f}, more than the standard error' in why


def test_two_images_that_agree_are_no_certainty():
  """Both found by one and by the other neither: no spread, yet hardly evidence."""
  decisions = {'fusion': _decide(0.5, 0, 2), 'other': _decide(6.0, 1, 2)}
  assert choose(decisions)[0] == 'fusion'
  many = {'fusion': _decide(0.5, 0, 12), 'other': _decide(6.0, 1, 12)}
  assert choose(many)[0] == 'other'


def test_the_figures_are_scikit_learns():
  decision = _decide(1.5)
  decision = dataclasses.replace(
    decision,  # with ties
    held_out_scores=decision.held_out_scores.round(1),
    left_out_scores=decision.left_out_scores.round(1),
  )
  scores = np.concatenate([decision.left_out_scores, decision.held_out_scores])
  is_minority = np.arange(len(scores)) < 10
  measured = choice._measure(decision)
  assert measured.auroc == pytest.approx(roc_auc_score(is_minority, -scores))
  assert measured.balanced_accuracy == pytest.approx(
    balanced_accuracy_score(is_minority, scores < decision.threshold.value)
  )
  assert measured.of_minority.mean() == pytest.approx(measured.figure)
  assert measured.of_majority.mean() == pytest.approx(measured.figure)


def test_nothing_better_is_seldom_found_where_nothing_is():
  """Pure noise between two equal methods: about one in six, as one error means."""
  changed = []
  for seed in range(200):
    rng = np.random.default_rng(seed)
    pair = []
    for _ in range(2):
      majority, minority = rng.normal(size=200), rng.normal(size=8) - 1.5
      threshold = thresholds.target_specificity(majority)
      scorer = scorers.make({'value': 0.0}, 'constant')
      pair.append(Decision(scorer, threshold, None, (), majority, minority))
    changed.append(choose({'fusion': pair[0], 'other': pair[1]})[0] == 'other')
  assert np.mean(changed) < 0.2


def test_one_minority_image_leaves_nothing_to_measure(blobs):
  majority, minority, _ = blobs
  decisions = {
    name: rivals.decide(
      rivals.get(name), majority, minority[None, :1], (0,), calibrate=True
    )[0]
    for name in ('mahalanobis', 'nearest_class_mean')
  }
  preferred = {'fusion': decisions['nearest_class_mean']}
  name, why = choose(decisions | preferred)
  assert name == 'fusion'
  assert 'single minority image' in why and 'as the default' in why


def test_at_zero_only_methods_are_compared_whose_zero_means_something():
  at_zero = {
    separation: dataclasses.replace(
      _decide(separation, num_minority=40), threshold=thresholds.zero()
    )
    for separation in (1.0, 9.0)
  }
  assert choose({'fusion': at_zero[9.0], 'plda': at_zero[1.0]})[0] == 'plda'
  best = {'plda_knn': at_zero[9.0], 'logistic_balanced': at_zero[9.0]}
  assert choose(best | {'plda': at_zero[1.0]})[0] == 'logistic_balanced'
  name, why = choose({'fusion': at_zero[9.0], 'logistic_balanced': at_zero[1.0]})
  assert name == 'logistic_balanced' and 'too few' not in why
  unmeasured = dataclasses.replace(at_zero[9.0], left_out_scores=None)
  assert choose({'fusion': unmeasured, 'plda': unmeasured})[0] == 'plda'
  cut = dataclasses.replace(unmeasured, threshold=_decide(9.0).threshold)
  assert choose({'fusion': cut, 'plda': cut})[0] == 'fusion'


def test_images_that_promise_a_sensitivity_do_not_choose_the_method():
  """Of ten methods alike, the choice would take one whose cut flatters."""
  broken = []
  for seed in range(300):
    rng = np.random.default_rng(seed)
    decisions = {}
    for name in ('fusion', *'abcdefghi'):
      majority, minority = rng.normal(size=100), rng.normal(size=29) - 2
      threshold = thresholds.target_sensitivity(minority, 0.9)
      scorer = scorers.make({'value': 0.0}, 'constant')
      decisions[name] = Decision(scorer, threshold, None, (), majority, minority)
    name, why = choose(decisions)
    found = stats.norm.cdf(decisions[name].threshold.value + 2)
    broken.append(found < 0.9)
    assert name == 'fusion' and 'cannot choose' in why
  assert np.mean(broken) < 0.09  # 0.05 is promised


def test_methods_that_were_not_measured_are_not_chosen():
  unmeasured = dataclasses.replace(_decide(9.0), left_out_scores=None)
  assert choose({'fusion': _decide(2.0), 'other': unmeasured})[0] == 'fusion'


def test_it_takes_a_method():
  with pytest.raises(UserError, match='no method'):
    choose({})
