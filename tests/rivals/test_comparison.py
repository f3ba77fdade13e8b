"""The one call: every rival, honest thresholds, no test image in a fit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from egan_jax import rivals, scorers
from egan_jax.errors import UserError
from egan_jax.evaluation import metrics
from egan_jax.rivals import comparison, held_out


@pytest.fixture(scope='module')
def table(images, training):
  return _compare(images, training)


def _compare(images, training, **options):
  return rivals.compare(
    images.majority,
    images.minority,
    images.test,
    images.is_minority,
    training,
    **options,
  )


@pytest.fixture(scope='module')
def features(images, training):
  """The images as features of the whole backbone."""
  return dataclasses.replace(
    images,
    **{
      part: comparison._pool(getattr(images, part), training)
      for part in ('majority', 'minority', 'test')
    },
  )


def test_every_rival_and_draw_has_a_row(table):
  assert [(row['rival'], row['draw']) for row in table] == [
    (name, draw) for name in rivals.names() for draw in (0, 1)
  ]
  json.dumps(table, allow_nan=False)
  for row in table:
    assert set(row['metrics']) >= {*metrics.METRICS, *metrics.FURTHER_METRICS}
    assert row['seconds'] > 0 and row['promise'] and row['from_one_image']


@pytest.mark.parametrize('name', rivals.names())
def test_a_higher_score_means_majority(table, name):
  expected = 0.5 if name == 'always_minority' else pytest.approx(1, abs=0.02)
  for row in table:
    if row['rival'] == name:
      assert row['metrics']['auroc'] == expected


def test_thresholds_are_held_out_majority_scores(table):
  rules = {row['rival']: row['threshold_rule'] for row in table}
  assert rules.pop('always_minority') == 'zero'
  assert set(rules.values()) == {'target_specificity'}
  for row in table:
    if row['rival'] != 'always_minority':
      # 95% is asked for; of 60 test images the conformal cut may miss some.
      assert row['metrics']['specificity'] > 0.75
      assert row['metrics']['recall'] > 0.9


def test_only_those_with_a_decision_of_their_own_are_judged_at_zero(table):
  judged = {row['rival'] for row in table if row['metrics_at_zero']}
  assert judged == {n for n in rivals.names() if rivals.get(n).decides_at_zero}
  floor = metrics.constant_predictor_floor(40, 60)
  row = next(row for row in table if row['rival'] == 'always_minority')
  assert row['metrics'] == row['metrics_at_zero'] == floor


def test_no_test_image_or_label_reaches_a_fit(
  images, training, table, make_activations
):
  """Other test images, labels the wrong way round: the same decisions."""
  other = dataclasses.replace(
    images,
    test=make_activations(9, 30, True),
    is_minority=np.arange(30) < 3,
  )
  names = (
    'logistic_balanced',
    'smote_logistic',
    'mahalanobis',
    'fine_tuned',
    'deep_sad',
  )
  before = {(row['rival'], row['draw']): row for row in table}
  for row in _compare(other, training, names=names):
    expected = before[row['rival'], row['draw']]
    assert row['threshold'] == expected['threshold']
    assert row['metrics'] != expected['metrics']


def test_the_seed_decides(features):
  names = ('mahalanobis', 'smote_logistic')
  first, again, other = (
    [row['threshold'] for row in _compare(features, None, names=names, seed=seed)]
    for seed in (0, 0, 1)
  )
  assert first == again
  assert first != other


def test_features_alone_are_enough_for_those_that_read_them(features, table):
  alone = _compare(features, None)
  assert {row['rival'] for row in alone} == {
    name for name in rivals.names() if rivals.get(name).reads == rivals.FEATURES
  }
  expected = {(row['rival'], row['draw']): row for row in table}
  for row in alone:
    same = expected[row['rival'], row['draw']]
    assert row['threshold'] == pytest.approx(same['threshold'], rel=1e-3)


def test_one_minority_image(images, training):
  one = dataclasses.replace(
    images, minority=jax.tree.map(lambda a: a[:1, :1], images.minority)
  )
  rows = _compare(one, training, calibrate=True)
  assert [row['rival'] for row in rows] == list(rivals.names())
  for row in rows:
    if rivals.get(row['rival']).looks_at_minority:
      assert 'single minority image' in row['note']
      assert 'brier' not in row['metrics']
    if row['rival'] != 'always_minority':
      assert row['metrics']['auroc'] > 0.9, row['rival']
  (smote,) = (row for row in rows if row['rival'] == 'smote_logistic')
  assert smote['note'].startswith('SMOTE needs two')


@pytest.mark.parametrize('num_majority', [1, 10])
def test_too_few_majority_images_for_the_rule(features, num_majority):
  majority, minority = features.majority[:num_majority], features.minority[:1]
  few = dataclasses.replace(features, majority=majority, minority=minority)
  for row in _compare(few, None, calibrate=True):
    if row['rival'] == 'always_minority' or num_majority == 1:
      assert (row['threshold'], row['threshold_rule']) == (0, 'zero')
    else:
      assert row['threshold_rule'] == 'target_specificity'
      assert 'with probability of about 0.9091' in row['promise']
      assert row['metrics']['specificity'] > 0.7
    if row['rival'] != 'always_minority' and num_majority == 1:
      assert row['promise'].startswith('none: a single majority image')
    assert ('no P(minority)' in row['note']) == (num_majority == 1)


def test_too_few_majority_images_for_the_rule_with_heads(images, training):
  few = dataclasses.replace(
    images, majority=jax.tree.map(lambda a: a[:10], images.majority)
  )
  rows = _compare(few, training, names=('fine_tuned',))
  assert {row['threshold_rule'] for row in rows} == {'zero'}
  assert all(row['metrics'] == row['metrics_at_zero'] for row in rows)


def test_probabilities_come_from_left_out_scores(features):
  rows = _compare(
    features, None, names=('mahalanobis', 'nearest_class_mean'), calibrate=True
  )
  for row in rows:
    assert row['metrics']['brier'] < 0.4 * 0.6  # what saying the prior gives
  rare = _compare(features, None, names=('mahalanobis',), calibrate=True, prior=0.01)
  assert rare[0]['metrics']['brier'] < rows[0]['metrics']['brier']
  assert rare[0]['metrics']['recall'] == rows[0]['metrics']['recall']


class _Spy:
  """A rival that remembers what it was fitted on and scores by the first feature."""

  def __init__(self):
    self.fitted = []

  def fit(self, majority, minority, seed):
    self.fitted.append((majority, minority, seed))
    line = {'centre': np.zeros(2), 'weights': np.eye(2)[0], 'offset': len(self.fitted)}
    return scorers.make(line, 'linear')

  def rival(self):
    from egan_jax.rivals.rival import fit_each

    return rivals.Rival('spy', rivals.FEATURES, True, 'nothing', fit_each(self.fit))


def test_a_left_out_image_is_not_fitted_on():
  spy = _Spy()
  majority, minority = np.zeros((4, 2)), np.arange(6.0).reshape(3, 2)
  scores = held_out.left_out_scores(spy.rival(), majority, minority, seed=7)
  fits = {tuple(m[:, 0].tolist()): seed for _, m, seed in spy.fitted}
  assert fits == {(2, 4): 7, (0, 4): 7, (0, 2): 7}
  # Each score is its image's first feature and the number of the fit without it.
  for value, score in zip((0, 2, 4), scores, strict=True):
    _, others, _ = spy.fitted[int(score - value) - 1]
    assert value not in others[:, 0]
  with pytest.raises(UserError, match='single minority image'):
    held_out.left_out_scores(spy.rival(), majority, minority[:1])


@pytest.mark.parametrize(
  'n, num_folds, sizes', [(7, 5, [5, 5, 6, 6, 6]), (3, 5, [2] * 3)]
)
def test_minority_images_are_left_out_in_folds(n, num_folds, sizes):
  spy = _Spy()
  minority = np.column_stack([100.0 * np.arange(n), np.zeros(n)])
  scores = held_out.left_out_scores(
    spy.rival(), np.zeros((4, 2)), minority, num_folds=num_folds
  )
  assert sorted(len(m) for _, m, _ in spy.fitted) == sizes
  for value, score in zip(minority[:, 0], scores, strict=True):
    assert value not in spy.fitted[int(score - value) - 1][1][:, 0]


@pytest.mark.parametrize('number', [1, 3])
def test_nothing_is_refitted_for_those_that_do_not_look_at_the_minority(
  features, number
):
  rival = rivals.get('mahalanobis')
  minority = features.minority[0, :number]
  known = rival.measure(features.majority)
  expected = known.scores(minority)
  got = held_out.left_out_scores(rival, known, minority)
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
  'num_majority, specificity, share, number',
  [
    (100, 0.95, 0.2, 20),
    (50, 0.95, 0.2, 19),
    (38, 0.95, 0.2, 19),
    (5000, 0.95, 0.2, 1000),
  ],
)
def test_split(num_majority, specificity, share, number):
  fitted, kept, missing = rivals.split_majority(
    num_majority, specificity, share, seed=0
  )
  assert len(kept) == number and not missing
  assert sorted([*fitted, *kept]) == list(range(num_majority))
  other = rivals.split_majority(num_majority, specificity, share, seed=1)[1]
  assert kept.tolist() != other.tolist()


def test_split_refuses_to_leave_less_than_it_holds_out():
  fitted, kept, missing = rivals.split_majority(37, 0.95, 0.2, seed=0)
  assert fitted.tolist() == list(range(37)) and not len(kept)
  assert missing.endswith('use at least 38')
  assert len(rivals.split_majority(1000, 0.95, 0.5, seed=0)[1]) == 500
  fitted, kept, missing = rivals.split_majority(1000, 0.95, 0.6, seed=0)
  assert len(fitted) == 1000 and not len(kept)
  assert 'hold out 600 of them' in missing
  assert missing.endswith('choose held_out_share below 0.6')


def test_user_errors(features, images, training):
  with pytest.raises(UserError, match="unknown rival 'eGAN': choose one of always"):
    _compare(features, None, names=('eGAN',))
  with pytest.raises(UserError, match="'deep_sad' trains a head"):
    _compare(features, None, names=('deep_sad',))
  for option in ({'specificity': 1}, {'held_out_share': 0}, {'prior': 0}):
    with pytest.raises(UserError, match=f'{next(iter(option))}='):
      _compare(features, None, names=('mahalanobis',), **option)
  broken = dataclasses.replace(training, num_epochs=1, learning_rate=np.inf)
  with pytest.raises(UserError, match="'fine_tuned' are not finite"):
    _compare(images, broken, names=('fine_tuned',))


def test_a_rival_fits_one_draw(features, images, training):
  scorer = rivals.get('mahalanobis').fit(features.majority, features.minority[0])
  assert scorer.scores(features.test).shape == (100,)
  few = dataclasses.replace(training, num_epochs=1)
  minority = jax.tree.map(lambda a: a[0], images.minority)
  scorer = rivals.get('fine_tuned').fit(images.majority, minority, 3, few)
  assert scorer.scores(images.test).shape == (100,)
