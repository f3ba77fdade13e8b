"""From training images to a threshold: what each rule gets, and what it keeps."""

import dataclasses

import jax
import numpy as np
import pytest

from egan_jax import rivals, scorers
from egan_jax.errors import UserError
from egan_jax.evaluation import calibration, thresholds
from egan_jax.rivals import ThresholdRule, decide, decide_from_scores
from egan_jax.rivals.rival import fit_each, repeat

BY_FIRST_FEATURE = {'centre': np.zeros(2), 'weights': np.eye(2)[0], 'offset': 0.0}


@pytest.fixture
def scorer():
  return scorers.make(BY_FIRST_FEATURE, 'linear')


@pytest.fixture(scope='module')
def scores():
  """Of 200 majority images around 0 and 40 minority images around -3."""
  rng = np.random.default_rng(0)
  return rng.normal(size=200), rng.normal(size=40) - 3


class _Spy:
  """A rival that remembers its majority images and scores by the first feature."""

  def __init__(self):
    self.fitted = []

  def fit(self, majority, *rest):
    self.fitted.append(majority[:, 0])
    line = BY_FIRST_FEATURE | {'offset': 1000.0 * len(self.fitted)}
    return scorers.make(line, 'linear')

  def rival(self, looks_at_minority):
    if looks_at_minority:
      return rivals.Rival('spy', rivals.FEATURES, True, '', fit_each(self.fit))
    return rivals.Rival(
      'spy', rivals.FEATURES, True, '', repeat, self.fit, looks_at_minority=False
    )


@pytest.mark.parametrize('looks_at_minority, num_fits', [(True, 12), (False, 6)])
def test_each_majority_image_is_scored_by_a_fit_without_it(looks_at_minority, num_fits):
  spy = _Spy()
  majority = np.column_stack([np.arange(103.0), np.zeros(103)])
  decisions = decide(
    spy.rival(looks_at_minority), majority, np.zeros((2, 3, 2)), seeds=(0, 1)
  )
  assert len(spy.fitted) == num_fits
  for decision in decisions:
    # The fit in use, and so its number, is one of all images.
    number = int(decision.scorer.scores(np.zeros((1, 2)))[0] / 1000) - 1
    assert spy.fitted[number].tolist() == majority[:, 0].tolist()
    fold_sizes = set()
    for value, score in zip(majority[:, 0], decision.held_out_scores, strict=True):
      number, rest = divmod(score, 1000)
      assert rest == value
      assert value not in spy.fitted[int(number) - 1]
      fold_sizes.add(len(spy.fitted[int(number) - 1]))
    assert fold_sizes == {82, 83}
    expected = thresholds.target_specificity(decision.held_out_scores, 0.95, 5)
    assert decision.threshold == expected
    assert 'expected, not guaranteed' in decision.threshold.promise


@pytest.mark.parametrize('name, number', [('plda', 2), ('mahalanobis', 3)])
def test_fits_in_other_units_choose_no_threshold(blobs, name, number):
  """A fit without one of so few has no spread to measure distances in."""
  majority, minority, _ = blobs
  rule = ThresholdRule('target_specificity', 0.5)
  (decision,) = decide(
    rivals.get(name), majority[:number], minority[None], (0,), rule=rule
  )
  assert decision.threshold.rule == 'zero' and decision.held_out_scores is None
  assert 'score in other units' in decision.threshold.promise
  (decision,) = decide(
    rivals.get(name), majority[: number + 1], minority[None], (0,), rule=rule
  )
  assert decision.threshold.rule == 'target_specificity'


def test_the_split_seed_decides_about_the_folds(blobs):
  majority, minority, _ = blobs
  rival = rivals.get('mahalanobis')
  first, again, other = (
    decide(rival, majority, minority[None], (0,), split_seed=seed)[0].held_out_scores
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).mean() > 0.9


@pytest.mark.parametrize('name', ['mahalanobis', 'one_class_knn', 'nearest_class_mean'])
def test_the_specificity_asked_for_is_that_of_new_images(name):
  """Simulated: over draws of 100 training images, 95% or a little more."""
  rng = np.random.default_rng(5)
  spread = rng.normal(size=(6, 6))
  specificities = []
  for _ in range(60):
    majority, new = (
      rng.normal(size=(100, 6)) @ spread,
      rng.normal(size=(512, 6)) @ spread,
    )
    minority = rng.normal(size=(1, 3, 6)) @ spread + 2
    (decision,) = decide(rivals.get(name), majority, minority, (0,))
    called = decision.threshold.calls_minority(decision.scorer.scores(new))
    specificities.append(1 - called.mean())
  error = np.std(specificities) / np.sqrt(len(specificities))
  # Fits on four fifths score new majority images no higher than one on all does.
  assert 0.95 - 3 * error < np.mean(specificities) < 0.975 + 3 * error


def test_heads_hold_one_share_out_of_all_fits(images, training):
  short = dataclasses.replace(training, num_epochs=1)
  rival = rivals.get('fine_tuned')
  decisions = decide(rival, images.majority, images.minority, (0, 1), short)
  fitted, kept, _ = rivals.split_majority(90, 0.95, 0.2, seed=0)
  of_kept = jax.tree.map(lambda a: a[kept], images.majority)
  of_fitted = jax.tree.map(lambda a: a[fitted], images.majority)
  expected = rival.fit_draws(of_fitted, images.minority, (0, 1), short)
  for decision, scorer in zip(decisions, expected, strict=True):
    np.testing.assert_allclose(
      decision.held_out_scores, scorer.scores(of_kept), rtol=1e-4, atol=1e-5
    )
    assert decision.threshold == thresholds.target_specificity(decision.held_out_scores)
    assert decision.left_out_scores is None  # nobody asked for what needs them


class TestRules:
  def test_each_is_its_threshold(self, scorer, scores):
    majority, minority = scores
    line = calibration.fit(majority, minority)
    expected = {
      'zero': thresholds.zero(),
      'target_specificity': thresholds.target_specificity(majority, 0.9),
      'target_sensitivity': thresholds.target_sensitivity(minority, 0.8),
      'minimum_cost': thresholds.minimum_cost(line, 5, 2, 0.1),
    }
    for name, threshold in expected.items():
      rule = ThresholdRule(name, 0.9, 0.8, 5, 2, 0.1)
      decision = decide_from_scores(scorer, majority, minority, rule)
      assert decision.threshold == threshold
      assert decision.calibration is None and decision.notes == ()
    calibrated = decide_from_scores(scorer, majority, minority, rule, calibrate=True)
    assert calibrated.calibration == line
    assert {*expected, 'expected_f1'} == set(rivals.RULES)

  def test_expected_f1_goes_by_the_methods_own_model_if_it_has_one(self, scores):
    rule = ThresholdRule('expected_f1')
    majority = scores[0]
    cuts = []
    for distribution in ([-10.0, 0.1], [-1.0, 0.1]):
      arrays = BY_FIRST_FEATURE | {
        'minority_score_distribution': np.array(distribution)
      }
      modelled = scorers.make(arrays, 'linear')
      # It takes no minority image to be left out.
      decision = decide_from_scores(modelled, majority, None, rule)
      assert 'as the method forecasts' in decision.threshold.promise
      cuts.append(decision.threshold.value)
    assert cuts[0] == majority.min() and -1 < cuts[1] < 0

  def test_a_forecast_that_calls_all_minority_gives_way(self, scores):
    distribution = {'minority_score_distribution': np.array([50.0, 0.1])}
    modelled = scorers.make(BY_FIRST_FEATURE | distribution, 'linear')
    decision = decide_from_scores(
      modelled, scores[0], None, ThresholdRule('expected_f1')
    )
    assert decision.threshold.rule == 'target_specificity'
    assert 'calls all minority' in decision.notes[0]

  @pytest.mark.parametrize('number', [1, 5, 18])
  def test_too_few_for_the_specificity_get_the_highest_there_is(self, scorer, number):
    majority = np.random.default_rng(0).normal(size=number)
    decision = decide_from_scores(scorer, majority, None, ThresholdRule('expected_f1'))
    threshold = decision.threshold
    assert (threshold.rule, threshold.value) == ('target_specificity', majority.min())
    assert 'no minority image was left out; a specificity of 0.95' in threshold.promise

  def test_costs_that_differ_ask_for_the_cheapest_decision(self):
    assert rivals.default_rule('fusion', 50, 1) == 'minimum_cost'
    assert rivals.default_rule('fusion', 3, 3) == 'expected_f1'
    assert rivals.default_rule('egan') == 'zero'

  @pytest.mark.parametrize(
    'rule, minority, reason',
    [
      ('target_sensitivity', np.arange(5.0), '5 minority scores cannot promise'),
      ('target_sensitivity', None, 'no minority image was left out'),
      ('minimum_cost', None, 'no minority image was left out'),
      ('expected_f1', np.zeros(4), '4 left-out minority scores are too few'),
    ],
  )
  def test_what_cannot_be_kept_is_refused_in_words(
    self, scorer, scores, rule, minority, reason
  ):
    majority, _ = scores
    decision = decide_from_scores(scorer, majority, minority, ThresholdRule(rule))
    instead = thresholds.target_specificity(majority)
    assert (decision.threshold.rule, decision.threshold.value) == (
      instead.rule,
      instead.value,
    )
    assert decision.threshold.promise.startswith(instead.promise)
    assert f'stands in for {rule}: {reason}' in decision.threshold.promise
    assert decision.notes[0].startswith(f'the rule {rule} cannot be kept: {reason}')
    nothing = decide_from_scores(scorer, None, minority, ThresholdRule(rule))
    assert (nothing.threshold.rule, nothing.threshold.value) == ('zero', 0)
    assert nothing.threshold.promise.startswith('none: ')

  def test_one_minority_image_with_a_rule_that_needs_more(self, blobs):
    majority, minority, _ = blobs
    rival = rivals.get('nearest_class_mean')
    (decision,) = decide(
      rival, majority, minority[None, :1], (0,), rule=ThresholdRule('expected_f1')
    )
    assert decision.threshold.rule == 'target_specificity'
    assert 'single minority image' in decision.notes[0]
    assert decision.left_out_scores is None

  @pytest.mark.parametrize(
    'options, error',
    [
      ({'name': 'best'}, "unknown rule 'best': choose one of zero"),
      ({'specificity': 1}, 'specificity=1'),
      ({'sensitivity': 0}, 'sensitivity=0'),
      ({'prior': 2}, 'prior=2'),
      ({'cost_false_negative': 0}, 'cost_false_negative=0'),
      ({'cost_false_positive': np.inf}, 'cost_false_positive=inf'),
    ],
  )
  def test_user_errors(self, options, error):
    with pytest.raises(UserError, match=error):
      ThresholdRule(**options)


def test_always_minority_stays_what_it_is(blobs):
  majority, minority, _ = blobs
  rival = rivals.get('always_minority')
  rule = ThresholdRule('target_sensitivity', sensitivity=0.5)
  (decision,) = decide(rival, majority, minority[None], (0,), rule=rule)
  assert (decision.threshold.value, decision.threshold.rule) == (0, 'zero')
  assert decision.notes == ()
