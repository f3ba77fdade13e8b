"""'plda' and 'plda_knn' as rivals: fits, draws, and what is held out."""

import jax
import numpy as np
import pytest

from egan_jax import rivals, two_covariance
from egan_jax.rivals import plda
from egan_jax.two_covariance import Covariances


def _features(count, size=6, seed=0, offset=0.0):
  """Positive, as after a ReLU; the offset moves half of them."""
  rng = np.random.default_rng(seed)
  moved = offset * (np.arange(size) < size / 2)
  return (rng.gamma(2, size=(count, size)) + moved).astype(np.float32)


NAMES = ['plda', 'plda_knn']
DIRECTIONS = np.random.default_rng(5).normal(size=(6, 4))


@pytest.mark.parametrize('name', NAMES)
def test_draws_side_by_side_are_one_by_one(name):
  majority = _features(50)
  minority = _features(6, seed=1, offset=1).reshape(3, 2, 6)
  rival = plda.rival(name, DIRECTIONS)
  images = _features(9, seed=2)
  for scorer, draw in zip(
    rival.fit_draws(rival.measure(majority), minority, (0, 1, 2)), minority, strict=True
  ):
    alone = plda.rival(name, DIRECTIONS).fit(majority, draw)
    np.testing.assert_allclose(
      scorer.scores(images), alone.scores(images), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(('count', 'n'), [(40, 1), (40, 30), (3, 1), (2, 2), (1, 1)])
def test_tells_classes_apart_from_any_number_of_images(name, count, n):
  scorer = rivals.get(name).fit(_features(count), _features(n, seed=1, offset=4))
  of_majority = scorer.scores(_features(30, seed=2))
  of_minority = scorer.scores(_features(30, seed=3, offset=4))
  assert np.isfinite(of_majority).all() and np.isfinite(of_minority).all()
  assert np.median(of_minority) < np.median(of_majority)


def test_a_majority_image_is_no_neighbour_of_its_own():
  majority = _features(20)
  scores = plda.measure_with_neighbors(majority).knn_scores
  for image, score in enumerate(scores):
    others = np.delete(majority, image, axis=0)
    index = others / np.linalg.norm(others, axis=1, keepdims=True)
    expected = two_covariance.score_neighbors(index, majority[[image]])
    np.testing.assert_allclose(score, expected, atol=1e-6)


def test_zero_is_equally_likely():
  """The score is the model's log-likelihood ratio, whoever computes it."""
  majority, minority = _features(40), _features(2, seed=1, offset=1)
  images = _features(7, seed=2)
  constants = Covariances(power=0.7, spherical=0.3, between=1.5)
  scorer = plda.rival('plda', DIRECTIONS, constants).fit(majority, minority)
  model = two_covariance.measure_majority(majority, DIRECTIONS, constants)
  posterior = two_covariance.infer(model.project(minority), model.variances)
  expected = two_covariance.evaluate(
    two_covariance.ratio(posterior), model.project(images)
  )
  np.testing.assert_allclose(scorer.scores(images), expected, rtol=1e-3, atol=1e-3)


def test_both_parts_are_standardised_on_majority_images_held_out_from_them(monkeypatch):
  """New majority images score around 0, in deviations, however the features scale."""
  majority, minority = 100 * _features(800), 100 * _features(3, seed=1, offset=2)
  images = 100 * _features(2000, seed=2)
  monkeypatch.setattr(plda, 'weigh_knn', lambda n: 0.0)
  without = plda.rival('plda_knn').fit(majority, minority)
  scores = without.scores(images)
  assert abs(scores.mean()) < 0.2
  assert abs(scores.std() - 1) < 0.2
  # What one part adds is in deviations too.
  monkeypatch.setattr(plda, 'weigh_knn', lambda n: 3.0)
  added = plda.rival('plda_knn').fit(majority, minority)
  knn = (added.scores(images) - scores) / 3
  assert abs(knn.mean()) < 0.2
  assert abs(knn.std() - 1) < 0.25


def test_an_only_image_weighs_less_against_what_the_majority_lacks():
  weights = [plda.weigh_knn(n) for n in (1, 2, 10, 1000)]
  assert weights == sorted(weights, reverse=True)
  assert weights[0] == 1
  assert weights[-1] == pytest.approx(0.5, abs=1e-3)


def test_majority_is_measured_once_for_all_draws(monkeypatch):
  calls = []
  measure = two_covariance.measure_majority

  def counted(majority, **options):
    calls.append(len(majority))
    return measure(majority, **options)

  monkeypatch.setattr(two_covariance, 'measure_majority', counted)
  draws = _features(8, seed=1).reshape(4, 2, 6)
  rivals.decide(plda.rival('plda'), _features(20), draws, [0] * 4, calibrate=True)
  assert sorted(calls) == [16] * 5 + [20]


@pytest.mark.parametrize('name', NAMES)
def test_scorers_pass_through_jit_and_grad(name):
  scorer = plda.rival(name, DIRECTIONS).fit(_features(30), _features(2, seed=1))
  images = _features(5, seed=2) + 0.1
  np.testing.assert_allclose(
    jax.jit(lambda s, x: s(x))(scorer, images),
    scorer.scores(images),
    rtol=1e-4,
    atol=1e-4,
  )
  gradient = jax.grad(lambda x: scorer(x).sum())(images)
  assert np.isfinite(gradient).all()


def test_directions_of_other_classes_help_where_they_are_right():
  """Classes that differ along one direction only, amid much noise in others."""
  rng = np.random.default_rng(0)
  size, spread = 40, np.ones(40)
  spread[1:20] = 4
  majority = spread * rng.normal(size=(400, size))
  step = np.zeros(size)
  step[0] = 3
  directions = np.zeros((size, 2))
  directions[0] = 1, -1
  constants = Covariances(power=1)
  right = wrong = 0
  for _ in range(8):
    minority = step + spread * rng.normal(size=(1, size))
    of_majority = spread * rng.normal(size=(200, size))
    of_minority = step + spread * rng.normal(size=(200, size))
    for given in (directions, None):
      scorer = plda.rival('plda', given, constants).fit(majority, minority)
      share = np.mean(
        scorer.scores(of_minority)[:, None] < scorer.scores(of_majority)[None]
      )
      right, wrong = (
        (right + share, wrong)
        if given is not None
        else (
          right,
          wrong + share,
        )
      )
  assert right > wrong + 0.5
