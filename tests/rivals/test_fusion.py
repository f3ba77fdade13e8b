"""'fusion': its parts, their weights, and what it expects of new minority images."""

import jax
import numpy as np
import pytest

from egan_jax import rivals, scorers, two_covariance
from egan_jax.rivals import fusion, linear, plda


def _features(count, size=6, seed=0, offset=0.0):
  """Positive, as after a ReLU; the offset moves half of them."""
  rng = np.random.default_rng(seed)
  moved = offset * (np.arange(size) < size / 2)
  return (rng.gamma(2, size=(count, size)) + moved).astype(np.float32)


DIRECTIONS = np.random.default_rng(5).normal(size=(6, 4))


def _parts(scorer, features):
  arrays = scorer.arrays
  roots = two_covariance.raise_to(features, 0.5)
  return (
    two_covariance.score_plda_knn(arrays['plda_knn'], features),
    scorers.score_linear(arrays['logistic'], roots),
  )


def test_its_parts_are_those_methods():
  majority, minority = _features(60), _features(3, seed=1, offset=2)
  images = _features(9, seed=2)
  scorer = fusion.rival(DIRECTIONS).fit(majority, minority)
  together, log_odds = _parts(scorer, images)
  alone = plda.rival('plda_knn', DIRECTIONS).fit(majority, minority)
  np.testing.assert_allclose(together, alone.scores(images), rtol=1e-5, atol=1e-5)
  roots = [two_covariance.raise_to(f, 0.5, np) for f in (majority, minority[None])]
  (regression,) = linear.logistic_balanced(linear.standardise(roots[0]), roots[1], [0])
  np.testing.assert_allclose(
    log_odds,
    regression.scores(two_covariance.raise_to(images, 0.5)),
    rtol=1e-3,
    atol=1e-3,
  )


def test_both_parts_are_in_deviations_of_images_they_were_not_fitted_to():
  """With many images there is no telling: then held-out ones are like new ones."""
  majority, minority = _features(2000), _features(4, seed=1, offset=2)
  scorer = fusion.rival().fit(majority, minority)
  arrays = scorer.arrays
  for name, part in zip(
    ('plda_knn', 'logistic'), _parts(scorer, _features(4000, seed=3)), strict=True
  ):
    standardised = (part - arrays[f'{name}_mean']) / arrays[f'{name}_deviation']
    assert np.mean(standardised) == pytest.approx(0, abs=0.15)
    assert np.std(standardised) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(('n', 'weight'), [(1, 0.25), (4, 0.5), (64, 2), (1000, 2)])
def test_many_images_make_the_regression_weigh_more(n, weight):
  assert fusion.weigh_logistic(n) == weight


def test_draws_side_by_side_are_one_by_one():
  majority = _features(50)
  minority = _features(6, seed=1, offset=1).reshape(3, 2, 6)
  images = _features(9, seed=2)
  rival = fusion.rival(DIRECTIONS)
  for scorer, draw in zip(
    rival.fit_draws(rival.measure(majority), minority, (0, 1, 2)), minority, strict=True
  ):
    alone = rival.fit(majority, draw)
    np.testing.assert_allclose(
      scorer.scores(images), alone.scores(images), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(('count', 'n'), [(40, 1), (40, 30), (3, 1), (2, 2), (1, 1)])
def test_tells_classes_apart_from_any_number_of_images(count, n):
  scorer = rivals.get('fusion').fit(_features(count), _features(n, seed=1, offset=4))
  of_majority = scorer.scores(_features(30, seed=2))
  of_minority = scorer.scores(_features(30, seed=3, offset=4))
  assert np.isfinite(of_majority).all() and np.isfinite(of_minority).all()
  assert np.median(of_minority) < np.median(of_majority)


def test_passes_through_jit_and_grad():
  scorer = fusion.rival(DIRECTIONS).fit(_features(40), _features(2, seed=1, offset=2))
  images = _features(5, seed=2)
  np.testing.assert_allclose(
    jax.jit(lambda s, f: s(f))(scorer, images), scorer.scores(images), atol=1e-4
  )
  gradient = jax.grad(lambda f: scorer(f).sum())(images)
  assert np.isfinite(gradient).all()


def test_forecast_is_lower_the_less_the_given_images_are_like_the_majority():
  assert fusion.forecast(-3.0)[0] == -5 < fusion.forecast(0.0)[0]
  assert fusion.forecast(-3.0)[1] > fusion.forecast(0.0)[1] > 1.5
  majority = _features(400)
  rival = fusion.rival()
  near, far = (
    rival.fit(majority, _features(2, seed=1, offset=offset)) for offset in (1, 4)
  )
  assert far.minority_score_distribution[0] < near.minority_score_distribution[0]
  # In units of the scores of majority images that were not fitted.
  spread = far.scores(_features(4000, seed=3)).std()
  arrays = far.arrays['plda_knn']
  knn = two_covariance.score_neighbors(
    arrays['index'], _features(2, seed=1, offset=4)
  ).mean()
  unlikeness = (knn - arrays['knn_mean']) / arrays['knn_deviation']
  expected = spread * np.array(fusion.forecast(float(unlikeness)))
  np.testing.assert_allclose(far.minority_score_distribution, expected, rtol=0.15)


def test_what_is_constant_in_the_majority_is_in_no_unit():
  """A feature that rounds to its mean, or a majority of copies, divides by no noise."""
  constant = np.full((3000, 2), 0.1, np.float32)
  majority, minority = _features(3000), _features(2, seed=1, offset=3)
  majority = np.concatenate([majority, constant], axis=1)
  minority = np.concatenate([minority, 1.01 * constant[:2]], axis=1)
  scorer = fusion.rival().fit(majority, minority)
  assert scorer.arrays['logistic']['weights'].__abs__().max() < 10
  copies = np.tile(_features(1), (12, 1))
  (decision,) = rivals.decide(
    fusion.rival(),
    copies,
    _features(1, seed=1, offset=3)[None],
    [0],
    rule=rivals.ThresholdRule('expected_f1'),
  )
  assert not decision.threshold.calls_minority(decision.scorer.scores(copies)).any()


@pytest.mark.parametrize(('n', 'rule'), [(1, 'forecast'), (6, 'left-out scores')])
def test_expected_f1_takes_left_out_images_where_there_are_enough(n, rule):
  minority = _features(n, seed=1, offset=3)[None]
  (decision,) = rivals.decide(
    fusion.rival(),
    _features(60),
    minority,
    [0],
    rule=rivals.ThresholdRule('expected_f1'),
  )
  assert decision.threshold.rule == 'expected_f1'
  assert rule in decision.threshold.promise
