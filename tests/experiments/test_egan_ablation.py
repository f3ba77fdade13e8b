"""The ablation's games start, train and are measured as they say."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.model_selection import KFold

from egan_jax import losses, two_covariance
from egan_jax.evaluation import metrics, thresholds
from egan_jax.rivals import plda
from experiments import documents
from experiments.egan_ablation import fields, games, search, tables, versions
from experiments.egan_ablation.games import Game, Minority, Top
from experiments.egan_ablation.versions import UNTRAINED, VERSIONS, Fit, Setting
from experiments.few_images import tables as few_images_tables
from experiments.few_images.decisions import NUM_FOLDS, run_rival
from experiments.few_images.problems import Problem


def _features(count, seed=0, offset=0.0):
  rng = np.random.default_rng(seed)
  return (rng.gamma(2, size=(count, 6)) + offset * np.arange(6)).astype(np.float32)


# Features are the means of two places.
TOP = Top(lambda _, boundary: boundary.mean(axis=(1, 2)), None)


def _boundary(count, seed=1, offset=0.5):
  return _features(2 * count, seed, offset).reshape(count, 1, 2, 6)


class _Problem(Problem):
  def __init__(self, num_majority=60):
    self.numbers = (3,)
    self.majority = _features(num_majority)
    self.minority = _features(12, 1, 0.5)
    self.test = np.concatenate([_features(20, 2, 0.5), _features(30, 3)])
    self.test_is_minority = np.arange(50) < 20


@pytest.fixture(scope='module')
def fit():
  return Fit(_features(60), None)


@pytest.mark.parametrize('prior', [False, True])
def test_discriminators_start_as_the_rule(fit, prior):
  minority = _features(8, 1, 0.5).reshape(4, 2, 6)
  setting = Setting(0.1, 0, prior=prior)
  game = Game(generated=False)
  played = versions.play(fit, game, [setting], minority)
  test = _features(30, 3)
  mine = versions.score(played, False, fit.see(test, game))
  rival = plda.rival('plda')
  scorers = rival.fit_draws(rival.measure(fit.majority), minority, [0] * 4)
  for scores, scorer in zip(mine, scorers, strict=True):
    np.testing.assert_allclose(scores, scorer.scores(test), rtol=1e-3, atol=1e-4)
  np.testing.assert_array_equal(played.moved(), 0)
  seen = games.score_draws(played.last, played.inputs, fit.of_majority[True])
  np.testing.assert_allclose(seen.std(axis=1), 1, rtol=1e-4)


@pytest.mark.parametrize('name', ['untrained', 'untrained_fused'])
def test_untrained_versions_are_measured_like_the_rivals(name):
  problem = _Problem(600)
  field = fields.Field(problem, None)
  draws = problem.draw_indices(3, 4)
  version = VERSIONS[name]
  rows = field.measure(version, field.play(version.game, UNTRAINED, draws), 3)
  rival = {'untrained': 'plda', 'untrained_fused': 'plda_knn'}[name]
  expected = run_rival(problem, rival, 4)[rival, 3]
  if name == 'untrained':
    for mine, theirs in zip(rows, expected, strict=True):
      for key in ('f1', 'auroc', 'recall', 'specificity'):
        assert mine[key] == pytest.approx(theirs[key], abs=1e-6)
  else:
    # The parts are put in units of other held-out images, so ranks differ a little.
    for mine, theirs in zip(rows, expected, strict=True):
      assert mine['auroc'] == pytest.approx(theirs['auroc'], abs=0.02)
    assert 'f1_at_zero' not in rows[0]


def test_folds_are_scored_by_games_that_did_not_see_them(monkeypatch):
  problem = _Problem()
  field = fields.Field(problem, None)
  seen = [{tuple(row) for row in part.fit.majority.tolist()} for _, part in field.folds]
  folds = KFold(NUM_FOLDS, shuffle=True, random_state=0)
  for (kept, _), of_fold, (_, expected) in zip(
    field.folds, seen, folds.split(problem.majority), strict=True
  ):
    np.testing.assert_array_equal(kept, expected)
    assert not of_fold & {tuple(row) for row in problem.majority[kept].tolist()}
  # Each fold's games score its own images, and the last fit's the test images.
  version, draws = VERSIONS['no_generator'], problem.draw_indices(3, 4)
  setting = Setting(0.03, 5, pull=0.1)
  played = field.play(version.game, setting, draws)
  rows = field.measure(version, played, 3)
  left = np.empty(60, np.float32)
  for (kept, part), of_fold in zip(field.folds, played[:-1], strict=True):
    x = part.fit.see(problem.majority[kept], version.game)
    left[kept] = versions.score(of_fold, True, x)[2]
  x = field.final.fit.see(problem.test, version.game)
  test = versions.score(played[-1], True, x)[2]
  cut = thresholds.target_specificity(left, 0.95, 5).value
  expected = metrics.evaluate_scores(test, problem.test_is_minority, cut, 0.5)
  assert rows[2]['f1'] == pytest.approx(expected['f1'])
  zero = metrics.evaluate_scores(test, problem.test_is_minority, 0, 0.5)
  assert rows[2]['f1_at_zero'] == pytest.approx(zero['f1'])


def _players(fit, game):
  start = games.start_at_random(jax.random.key(1), 6, 4)
  generator = games.make_generator(jax.random.key(2), 6)
  generator = {**generator, 'decoder': jnp.full((16, 6), 0.1)}
  minority = Minority(fit.see(_features(3, 1, 0.5), game))
  return {'discriminator': start, 'generator': generator}, minority


def test_players_have_the_gradients_of_their_own_losses(fit):
  game = Game(real=False, from_rule=False)
  players, minority = _players(fit, game)
  inputs, majority = fit.inputs(game, False), fit.of_majority[False][:7]
  both = jax.grad(games.objective)(
    players, game, inputs, majority, minority, 0, players['discriminator'], {}
  )
  score, generate = games.score, games.generate
  made = generate(players['generator'], minority.x)

  def of_discriminator(params):
    told = losses.majority_loss(score(params, majority)).mean()
    return told + losses.generated_loss(score(params, made)).mean()

  def of_generator(params):
    scores = score(players['discriminator'], generate(params, minority.x))
    return losses.generator_loss(scores).mean()

  expected = {
    'discriminator': jax.grad(of_discriminator)(players['discriminator']),
    'generator': jax.grad(of_generator)(players['generator']),
  }
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), both, expected)


def test_penalties_and_real_images_add_what_they_say(fit):
  game = Game(real=False, from_rule=False)
  players, minority = _players(fit, game)
  inputs, majority = fit.inputs(game, False), fit.of_majority[False][:7]
  own = players['discriminator']
  start = {**own, 'weights': own['weights'] + 2.0}
  noise = 0.3 * jnp.ones_like(minority.x)

  def value(game, **rates):
    return float(
      games.objective(players, game, inputs, majority, minority, noise, start, rates)
    )

  penalised = dataclasses.replace(game, penalised=True)
  bare = value(game)
  assert value(penalised, pull=0.0, consistency=0.0) == pytest.approx(bare)
  pulled = value(penalised, pull=0.5, consistency=0.0)
  assert pulled - bare == pytest.approx(0.5 * 4 * 4 / 2, rel=1e-4)
  scores = games.score(own, minority.x)
  nearby = games.score(own, minority.x + 0.3)
  consistent = value(penalised, pull=0.0, consistency=2.0)
  assert consistent - bare == pytest.approx(
    2 * float(jnp.mean((scores - nearby) ** 2)), rel=1e-3
  )
  only_real = value(Game(generated=False, from_rule=False))
  told = losses.majority_loss(games.score(own, majority)).mean()
  assert only_real == pytest.approx(
    float(told + losses.generated_loss(scores).mean()), rel=1e-5
  )


def test_games_of_several_settings_and_draws_are_those_of_each(fit):
  minority = _features(4, 1, 0.5).reshape(2, 2, 6)
  settings = [Setting(rate, 20, pull=pull) for rate, pull in ((1e-2, 0), (0.1, 1.0))]
  game = Game(penalised=True)
  x = fit.see(_features(10, 3), game)
  together = versions.play(fit, game, settings, minority)
  for averaged in (False, True):
    scores = versions.score(together, averaged, x)
    alone = [
      versions.score(versions.play(fit, game, [setting], minority), averaged, x)
      for setting in settings
    ]
    np.testing.assert_allclose(scores, np.concatenate(alone), rtol=1e-3, atol=1e-4)


def test_training_tells_classes_apart_and_averages_lag_behind():
  fit = Fit(_features(60), None)
  game = Game(generated=False, from_rule=False)
  minority = _features(10, 1, 3.0)[None]
  played = versions.play(fit, game, [Setting(0.05, 200)], minority)
  of_minority = versions.score(played, False, fit.see(_features(20, 2, 3.0), game))
  of_majority = versions.score(played, False, fit.see(_features(20, 3), game))
  assert of_minority.max() < 0 < of_majority.mean()
  start, last, average = (
    np.asarray(p['weights']) for p in (played.starts, played.last, played.average)
  )
  assert 0 < np.linalg.norm(average - start) < np.linalg.norm(last - start)


def test_generators_of_boundary_activations_start_with_the_images():
  boundary = _boundary(8)
  fit = Fit(_features(60), None, TOP)
  game = VERSIONS['boundary'].game
  x = fit.see(np.asarray(TOP.apply(None, boundary)), game)
  generator = games.make_generator(jax.random.key(0), 6)
  same = games.generate(generator, boundary)
  np.testing.assert_array_equal(same, boundary)
  np.testing.assert_allclose(fit.top()(same), x, rtol=1e-3, atol=1e-4)


def test_the_generator_learns_through_the_frozen_layers():
  boundary = _boundary(8)
  fit = Fit(_features(60), None, TOP)
  game = VERSIONS['boundary'].game
  minority = Minority(fit.top()(boundary), jnp.asarray(boundary))
  inputs = fit.inputs(game, False)
  own = games.start_at_random(jax.random.key(1), inputs(minority.x).shape[1], 0)
  generator = games.make_generator(jax.random.key(2), 6)
  generator = {**generator, 'decoder': jnp.full((16, 6), 0.1)}
  rates = {'pull': 0.0, 'consistency': 0.0}

  def loss(generator):
    players = {'discriminator': own, 'generator': generator}
    majority = inputs(fit.of_majority[True][:7])
    return games.objective(
      players, game, inputs, majority, minority, 0, own, rates, fit.top()
    )

  def expected(generator):
    made = games.generate(generator, boundary)
    scores = games.score(own, inputs(fit.top()(made)))
    return losses.generator_loss(scores).mean()

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    jax.grad(loss)(generator),
    jax.grad(expected)(generator),
  )


def test_a_search_of_some_versions_leaves_the_others():
  result = {
    'search': {'chosen': {'game': 1, 'fused': 2}, 'tried': {'game': 3, 'fused': 4}},
    'cells': {'bird/cat|game|1': 5, 'bird/cat|fused|1': 6},
  }
  search.put(result, ['fused'], {'chosen': {'fused': 7}, 'tried': {'fused': 8}})
  assert result == {
    'search': {'chosen': {'game': 1, 'fused': 7}, 'tried': {'game': 3, 'fused': 8}},
    'cells': {'bird/cat|game|1': 5},
  }


def test_every_majority_image_is_seen_in_an_epoch():
  batches = games.make_batches(640, 12)
  assert batches.shape == (12, games.BATCH_SIZE)
  for epoch in (batches[:5], batches[5:10]):
    np.testing.assert_array_equal(np.sort(epoch, axis=None), np.arange(640))
  assert games.make_batches(60, 1).shape == (1, 60)


def test_fused_scores_are_the_weighed_sum():
  rng = np.random.default_rng(0)
  scores, held_out = rng.normal(size=(2, 5)), rng.normal(3, 2, size=(2, 50))
  knn, of_held_out = rng.normal(size=5), rng.normal(-1, 0.1, size=50)
  fused = versions.fuse(scores, held_out, knn, of_held_out, 2)
  part = (knn - of_held_out.mean()) / of_held_out.std()
  for row, mine, others in zip(fused, scores, held_out, strict=True):
    np.testing.assert_allclose(row, (mine - others.mean()) / others.std() + 0.75 * part)


def test_neighbors_are_those_of_plda_knn():
  problem = _Problem()
  scorer = plda.rival('plda_knn').fit(problem.majority, problem.draws(1, 1)[0])
  np.testing.assert_allclose(
    versions.score_neighbors(problem.majority, problem.test),
    two_covariance.score_neighbors(scorer.arrays['index'], problem.test),
    atol=1e-6,
  )


def test_the_search_measures_and_takes_the_best():
  of_minority, of_majority = np.arange(10.0), np.arange(5.0, 105.0)
  f1, auroc = search.measure(of_minority, of_majority)
  recall = np.mean(of_minority < np.quantile(of_majority, 0.05))
  assert recall == 1.0
  assert f1 == pytest.approx(2 / 2.05)
  assert auroc == pytest.approx(0.9875)
  settings = search.list_settings(VERSIONS['averaged'])
  means = {
    ('averaged', setting, n): np.array([0.9 if i in (3, 5) else 0.1 * n, 0.5])
    for i, setting in enumerate(settings)
    for n in (1, 2)
  }
  found = search.choose(means)
  assert Setting(**found['chosen']['averaged']['1']) == settings[3]
  assert len(found['tried']['averaged']) == len(settings)


def test_the_search_reads_every_version_of_a_game(monkeypatch):
  for name, values in (
    ('LEARNING_RATES', (1e-2,)),
    ('STEPS', (3,)),
    ('PULLS', (0.1,)),
    ('HIDDEN', (0,)),
  ):
    monkeypatch.setattr(search, name, values)
  minority = _features(40, 1, 0.2)
  boundary = np.stack([minority] * 2, axis=1)[:, None]
  results = search.search_pair(
    _features(60), minority, None, 2, numbers=(2,), top=TOP, boundary=boundary
  )
  assert {name for name, _, _ in results} == set(VERSIONS)
  assert all(len(rows) == 2 for rows in results.values())
  of = {(name, setting.prior): rows for (name, setting, _), rows in results.items()}
  assert of['penalised', True] != of['fused', True]
  assert of['untrained', False] != of['from_rule', False]


def _cell(f1):
  keys = ('f1', 'auroc', 'recall', 'specificity', 'f1_at_zero', 'moved')
  return {key: list(f1) for key in keys}


def test_tables_and_verdict_say_what_is_stored():
  cells = {f'bird/cat|{name}|1': _cell([0.8, 0.9]) for name in VERSIONS}
  cells['bird/cat|fused|1'] = _cell([0.7, 0.8])
  setting = dataclasses.asdict(Setting(0.01, 100, pull=0.1))
  numbers = [str(n) for n in search.NUMBERS]
  tried = {'rate 0.01, 100 steps, pull 0.1': {n: [0.7, 0.8] for n in numbers}}
  searched = {
    'chosen': {name: dict.fromkeys(numbers, setting) for name in VERSIONS},
    'tried': dict.fromkeys(VERSIONS, tried),
  }
  rivals = {
    f'bird/cat|EfficientNetLite0|224|{name}|1': _cell([0.8, 0.9])
    for name in tables.RIVALS
  }
  found = tables.tables({'cells': cells, 'search': searched}, rivals)
  assert '| fused | 0.750 (0.750) |' in found['table']
  assert '| plda_knn | 0.850 (0.850), 0.800 to 0.900 |' in found['table']
  assert '| fused | -0.100 (-0.100 to -0.100) |' in found['differences']
  assert '| fused | 0 of 1 | bird/cat 1 |' in found['verdict']
  assert '| averaged | 1 of 1 | none |' in found['verdict']
  assert '| fused |' not in found['zero']
  assert '| fused | 0.700: rate 0.01, 100 steps, pull 0.1 |' in found['settings']


def test_stored_tables_are_in_the_document():
  result = json.loads(tables.RESULT.read_text())
  rivals = json.loads(few_images_tables.RESULT.read_text())
  text = tables.DOCUMENT.read_text()
  for name, table in tables.tables(result, rivals).items():
    assert documents.marker(name, tables.COMMAND) + table in text
