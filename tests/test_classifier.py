"""The scikit-learn classifier: scikit-learn's own checks, and what images add."""

import collections
import dataclasses
import pickle

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import (
  check_classifiers_train,
  parametrize_with_checks,
)

from egan_jax import (
  backbones,
  bundle,
  feature_extractor,
  fitting,
  pretrained,
  rivals,
  scorers,
)
from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.classifier import EGANClassifier
from egan_jax.errors import UserError
from egan_jax.predictor import Predictor
from tests.comparing import assert_identical
from tests.small_runs import load_zeros

ON_FEATURES = [name for name in rivals.names() if rivals.get(name).reads == 'features']
ON_IMAGES = [
  'class_mean_and_knn',
  'egan',
  *(
    pytest.param(name, marks=pytest.mark.slow)
    for name in rivals.names()
    if name not in ON_FEATURES
  ),
]
EXPECTED_FAILURES = {
  'check_classifiers_train': (
    'the most probable class must be the predicted one, but here a threshold keeps'
    " its promise instead; with threshold='minimum_cost' the check passes, see"
    ' test_with_the_cut_where_classes_are_equally_probable'
  )
}


@parametrize_with_checks(
  [EGANClassifier('nearest_class_mean')],
  expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_scikit_learns_own_checks(estimator, check):
  check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
  [EGANClassifier()], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_scikit_learns_own_checks_of_the_defaults(estimator, check):
  check(estimator)


@pytest.mark.parametrize(
  'method', ['nearest_class_mean', pytest.param('fusion', marks=pytest.mark.slow)]
)
def test_with_the_cut_where_classes_are_equally_probable(method):
  """The check that is expected to fail otherwise."""
  classifier = EGANClassifier(method, threshold='minimum_cost')
  check_classifiers_train('EGANClassifier', classifier)


@pytest.fixture(scope='module')
def fitted(tiny_registered):
  """On images, with P(minority)."""
  return _on_tiny(calibrate=True).fit(*_images())


def _features(num_minority=6, num_majority=40, seed=0):
  """Two clouds, the first `num_minority` rows of the minority."""
  rng = np.random.default_rng(seed)
  X = rng.normal(size=(num_minority + num_majority, 4))
  is_minority = np.arange(len(X)) < num_minority
  X[is_minority] += 3
  return X, is_minority


def _images(num_minority=3, num_majority=45, size=16, seed=0):
  """Dark noise and, in the first images, bright noise."""
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 128, (num_minority + num_majority, size, size, 3), np.uint8)
  images[:num_minority] += 127
  return images, np.arange(len(images)) < num_minority


def _on_tiny(method='class_mean_and_knn', **options):
  """A classifier of the tiny backbone with random weights."""
  options = {'num_epochs': 2, 'batch_size': 16, 'calibrate': False, **options}
  return EGANClassifier(
    method,
    backbone='Tiny',
    weights='none',
    fine_tune_layers=3,
    random_state=0,
    **options,
  )


@pytest.mark.parametrize('minority_first', [True, False])
@pytest.mark.parametrize('method', ['class_mean_and_knn', 'always_minority'])
def test_sign(method, minority_first):
  """Positive is the second label; below the threshold is the minority."""
  X, is_minority = _features()
  labels = np.array(['a', 'b'] if minority_first else ['b', 'a'])
  y = np.where(is_minority, *labels)
  classifier = EGANClassifier(method, random_state=0).fit(X, y)
  assert classifier.classes_.tolist() == ['a', 'b']
  assert classifier.minority_label_ == labels[0]
  scores = classifier.decision_.scorer.scores(X)
  below = scores.astype(float) < classifier.decision_.threshold.value
  np.testing.assert_array_equal(classifier.predict(X) == labels[0], below)
  distances = classifier.decision_function(X)
  np.testing.assert_array_equal(
    classifier.predict(X), np.where(distances > 0, 'b', 'a')
  )
  assert below[is_minority].all()
  expected = np.abs(scores - classifier.decision_.threshold.value)
  np.testing.assert_allclose(np.abs(distances), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('minority', [0, 1])
@pytest.mark.parametrize('cut', [np.inf, -np.inf])
def test_an_infinite_cut_leaves_the_ranking(cut, minority):
  X, is_minority = _features()
  y = is_minority if minority else ~is_minority
  classifier = EGANClassifier('nearest_class_mean', minority_label=minority).fit(X, y)
  threshold = dataclasses.replace(classifier.decision_.threshold, value=cut)
  classifier.decision_ = dataclasses.replace(classifier.decision_, threshold=threshold)
  distances = classifier.decision_function(X)
  assert np.isfinite(distances).all()
  assert set(classifier.predict(X)) == {minority if cut > 0 else 1 - minority}
  scores = classifier.decision_.scorer.scores(X)
  order = np.argsort(distances if minority else -distances)
  assert (np.diff(scores[order]) <= 0).all() and len(np.unique(distances)) > 10


def test_scores_that_are_not_finite_are_no_class():
  X, is_minority = _features()
  classifier = EGANClassifier('class_mean_and_knn').fit(X, is_minority)
  with pytest.raises(UserError, match='not finite'):
    classifier.predict(np.full_like(X, -3e38))


@pytest.mark.parametrize('minority', [0, 1])
def test_a_score_on_the_threshold_is_majority(minority):
  X, is_minority = _features()
  y = is_minority if minority else ~is_minority
  classifier = EGANClassifier('one_class_knn', minority_label=minority).fit(X, y)
  score = np.float32(classifier._score(X[-1:])[0])
  for cut, expected in ((score, 1 - minority), (np.nextafter(score, np.inf), minority)):
    object.__setattr__(classifier.decision_.threshold, 'value', float(cut))
    assert classifier.predict(X[-1:]) == [expected]


def test_probabilities_are_of_the_calibration_at_the_prior():
  X, is_minority = _features()
  for y in (is_minority, ~is_minority):
    classifier = EGANClassifier('class_mean_and_knn', prior=0.25).fit(X, y)
    scores = classifier.decision_.scorer.scores(X)
    expected = classifier.decision_.calibration.probabilities(scores, 0.25)
    p = classifier.predict_proba(X)
    np.testing.assert_allclose(p[:, int(y[0])], expected, rtol=1e-4)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_probabilities_can_be_left_out():
  classifier = EGANClassifier(calibrate=False)
  assert not hasattr(classifier, 'predict_proba')


def test_one_minority_image_gives_decisions_and_no_probabilities():
  X, is_minority = _features(num_minority=1)
  classifier = EGANClassifier('class_mean_and_knn').fit(X, is_minority)
  assert classifier.predict(X)[0]
  with pytest.raises(UserError, match='single minority image'):
    classifier.predict_proba(X)


def test_minority_is_the_rarer_label_unless_given():
  X, is_minority = _features()
  fit = EGANClassifier('nearest_class_mean').fit(X, is_minority)
  assert fit.minority_label_
  fit = EGANClassifier('nearest_class_mean', minority_label=False).fit(X, is_minority)
  assert not fit.minority_label_
  assert fit.decision_.scorer.scores(X[:1]) > fit.decision_.scorer.scores(X[-1:])
  X, is_minority = _features(8, 8)
  assert EGANClassifier('nearest_class_mean').fit(X, is_minority).minority_label_


@pytest.mark.parametrize('method', ON_FEATURES)
def test_every_method_on_features(method):
  X, is_minority = _features()
  classifier = EGANClassifier(method, calibrate=False, random_state=0)
  predicted = classifier.fit(X, is_minority).predict(X)
  scorer = classifier.decision_.scorer
  assert scorer.kind in scorers.KINDS and scorer.head is None
  assert scorer.reads == rivals.get(method).reads
  assert predicted[is_minority].mean() > 0.8
  assert (~predicted[~is_minority]).mean() > (0.8 if 'always' not in method else -1)


@pytest.mark.parametrize('method', ['fusion', 'one_class_knn', 'logistic_balanced'])
def test_a_row_counts_once(method):
  X, y = _features()
  once = EGANClassifier(method, random_state=0).fit(X, y)
  often = EGANClassifier(method, random_state=0).fit(np.repeat(X, 4, 0), y.repeat(4))
  np.testing.assert_array_equal(once.decision_function(X), often.decision_function(X))


def test_in_scikit_learns_cross_validation():
  X, is_minority = _features(20, 80)
  classifier = EGANClassifier('mahalanobis', calibrate=False)
  assert cross_val_score(classifier, X, is_minority, scoring='roc_auc').min() > 0.9


@pytest.mark.parametrize('method', ON_IMAGES)
def test_every_method_on_images(method, tiny_registered):
  images, y = _images()
  classifier = _on_tiny(method, threshold='target_specificity').fit(images, y)
  threshold = classifier.decision_.threshold
  assert threshold.rule == 'target_specificity'
  model = classifier.bundle_
  expected = np.asarray(jax.jit(model.score)(to_unit_range(images)), np.float64)
  actual = classifier.decision_function(images)
  np.testing.assert_allclose(actual, threshold.value - expected, rtol=1e-4, atol=1e-4)
  assert model.method == method
  assert (model.held_out_folds == 5) == (method == 'class_mean_and_knn')
  assert (model.minority_class, model.majority_class) == ('True', 'False')
  copy = pickle.loads(pickle.dumps(classifier))
  np.testing.assert_array_equal(copy.decision_function(images), actual)


@pytest.mark.slow
def test_game_by_the_papers_rule_trains_on_all(tiny_registered):
  images, y = _images()
  classifier = _on_tiny('egan').fit(images, y)
  assert classifier.decision_.threshold.value == 0
  assert classifier.decision_.held_out_scores is None
  again = clone(classifier).fit(images, y)
  np.testing.assert_array_equal(
    again.decision_function(images), classifier.decision_function(images)
  )
  longer = clone(classifier).set_params(num_epochs=3).fit(images, y)
  assert (
    longer.decision_function(images) != classifier.decision_function(images)
  ).any()


@pytest.mark.slow
def test_game_decides_at_its_best_epoch(tiny_registered, monkeypatch):
  images, y = _images()
  first = _on_tiny('egan', num_epochs=1).fit(images, y)
  of_epochs = iter([0.9, 0.5, 0.8])
  monkeypatch.setattr(fitting.epoch_choice, 'compute_auroc', lambda *_: next(of_epochs))
  longer = clone(first).set_params(num_epochs=3).fit(images, y)
  np.testing.assert_array_equal(
    longer.decision_function(images), first.decision_function(images)
  )


@pytest.mark.parametrize('of_losses', [True, False])
def test_diverging_game_says_so(of_losses, monkeypatch, tiny_player):
  """The last step of an epoch can break scores whose losses nobody computes."""

  def diverge(game, *_, **__):
    generator = np.float32(np.nan if of_losses else 1)
    return game, {'majority': np.float32(1), 'generator': generator}

  broken = scorers.make({'value': np.nan}, 'constant')
  Game = collections.namedtuple('Game', 'discriminator')
  monkeypatch.setattr(fitting, '_train_epoch', diverge)
  monkeypatch.setattr(fitting.state, 'create_game_state', lambda *_: Game(()))
  monkeypatch.setattr(fitting.scorers, 'from_discriminator', lambda *_: broken)
  images = np.zeros((3, 2), np.float32)
  name = 'loss' if of_losses else 'score'
  with pytest.raises(UserError, match=f'a {name} is not finite in epoch 1'):
    fitting._play(images, images, rivals.HeadTraining(tiny_player), seed=0)


@pytest.mark.parametrize(
  'changes',
  [
    {'image_size': 0},
    {'num_epochs': 0},
    {'batch_size': 0},
    {'learning_rate': -1.0},
    {'dropout_rate': 1.5},
    {'held_out_share': 3},
  ],
)
def test_numbers_out_of_their_range_are_named(changes, tiny_registered):
  ((name, _),) = changes.items()
  with pytest.raises(UserError, match=name):
    _on_tiny('fine_tuned', **changes).fit(*_images())


@pytest.mark.parametrize('name', ['EfficientNetLite0', 'DenseNet121'])
def test_what_a_fit_has_of_a_backbone_can_be_pickled(name, monkeypatch):
  """Whole fits are in `test_every_method_on_images`."""
  monkeypatch.setattr(pretrained, 'load', load_zeros)
  front = feature_extractor.make((name,), 'imagenet', 32, 'imagenet')
  again = pickle.loads(pickle.dumps(front))
  assert jax.tree.structure(again) == jax.tree.structure(front)
  assert_identical(again, front)


def test_images_of_any_range(fitted):
  images, y = _images()
  classifier = fitted
  expected = classifier.decision_function(images)
  for same in (images / 255, images.astype(int), images.tolist()):
    np.testing.assert_array_equal(classifier.decision_function(same), expected)
  np.testing.assert_array_equal(
    _on_tiny().fit(images / np.float32(255), y).decision_function(images), expected
  )


@pytest.mark.parametrize('method', ['fusion', 'egan'])
def test_in_jaxs_double_precision_mode(method, tiny_registered):
  """A notebook may have set it for something else; here all stays float32."""
  images, y = _images()
  expected = _on_tiny(method).fit(images, y).decision_function(images)
  with jax.enable_x64(True):
    classifier = _on_tiny(method).fit(images, y)
    scores = classifier.decision_function(images)
  leaves = jax.tree.leaves((classifier.bundle_.front, classifier.bundle_.scorer))
  assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
  np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_images_in_another_order_in_memory(fitted):
  """Such as those of PyTorch, whose channels come first."""
  images, y = _images()
  channels_first = np.ascontiguousarray(np.moveaxis(images, 3, 1))
  X = np.moveaxis(channels_first, 1, 3)
  np.testing.assert_array_equal(
    _on_tiny().fit(X, y).decision_function(X), fitted.decision_function(images)
  )


def test_fit_on_images_can_be_saved_as_a_model(fitted, tmp_path):
  images, _ = _images()
  classifier = fitted
  assert classifier.decision_.calibration is not None
  bundle.save(classifier.bundle_, tmp_path / 'model')
  loaded = bundle.load(tmp_path / 'model')
  np.testing.assert_array_equal(
    Predictor(loaded).scores(images), Predictor(classifier.bundle_).scores(images)
  )
  assert loaded.threshold == classifier.decision_.threshold
  assert loaded.calibration == classifier.decision_.calibration


def test_images_that_are_not_square_need_a_size(fitted):
  images, y = _images()
  assert fitted.bundle_.image_size == 16
  with pytest.raises(UserError, match='set image_size'):
    _on_tiny().fit(images[:, :, :8], y)


@pytest.mark.slow
def test_images_of_any_size(tiny_registered):
  images, y = _images()
  classifier = _on_tiny(image_size=16).fit(images[:, :, :8], y)
  assert classifier.predict(images).shape == y.shape


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'method': 'no_such'}, 'unknown method'),
    ({'method': 'egan'}, 'needs images'),
    ({'method': 'fine_tuned'}, 'needs images'),
    ({'minority_label': 'x'}, 'choose one of False, True'),
    ({'threshold': 'no_such'}, 'unknown rule'),
    ({'target_specificity': 1.5}, 'specificity'),
  ],
)
def test_bad_parameters(options, message):
  with pytest.raises(UserError, match=message):
    EGANClassifier(**{'method': 'mahalanobis', **options}).fit(*_features())


@pytest.mark.parametrize(
  'change',
  [
    {'backbone': 'No'},
    {'preprocess': 'no'},
    {'method': 'egan', 'backbone': 'SmallConvEncoder', 'weights': 'none'},
    {'method': 'fine_tuned', 'backbone': 'SmallConvEncoder', 'weights': 'none'},
    {'method': 'egan', 'backbone': 'SmallConvDiscriminator', 'weights': 'none'},
  ],
)
def test_bad_parameters_of_images(change):
  with pytest.raises(UserError):
    EGANClassifier(**{'method': 'mahalanobis', **change}).fit(*_images())


@pytest.mark.parametrize(
  'bad',
  [
    lambda x: x[..., :1],
    lambda x: x / 100,
    lambda x: -1.0 * x,
    lambda x: x * 2.0 * np.nan,
    lambda x: x[:0],
    lambda x: x.astype(str),
  ],
)
def test_bad_images(bad, fitted):
  images, y = _images()
  with pytest.raises(ValueError, match='X'):
    _on_tiny().fit(bad(images), y[: len(bad(images))])
  with pytest.raises(ValueError, match='X'):
    fitted.predict(bad(images))


def test_images_after_features_and_features_after_images(fitted):
  images, _ = _images()
  with pytest.raises(ValueError, match='images are'):
    fitted.predict(_features()[0])
  with pytest.raises(ValueError, match='dim'):
    EGANClassifier('mahalanobis').fit(*_features()).predict(images)


@pytest.mark.filterwarnings('ignore:The number of unique classes')
def test_bad_labels():
  X, is_minority = _features()
  for classifier, y, message in (
    (EGANClassifier(), np.arange(len(X)), 'binary'),
    (EGANClassifier(), np.zeros(len(X)), 'one class'),
    (EGANClassifier(), is_minority[:-1], 'inconsistent'),
  ):
    with pytest.raises(ValueError, match=message):
      classifier.fit(X, y)
  with pytest.raises(ValueError, match='inconsistent'):
    EGANClassifier().fit(_images()[0], is_minority)


def test_not_fitted():
  with pytest.raises(NotFittedError):
    EGANClassifier().predict(_images()[0])


@pytest.mark.slow
def test_defaults_on_digits():
  """One 8 among 100 threes, with ImageNet weights."""
  from egan_jax.data import sources

  digits = sources.load('digits', data_dir='', minority_class=8, majority_class=3)
  X = np.concatenate([digits.minority[:1], digits.majority[:100]])
  classifier = EGANClassifier(image_size=96).fit(X, np.arange(101) < 1)
  found = classifier.predict(digits.test)
  is_minority = digits.test_is_minority
  assert (found[is_minority].mean() + (~found[~is_minority]).mean()) / 2 > 0.7
  assert backbones.get(classifier.bundle_.backbones[0]).name == 'EfficientNetLite0'
