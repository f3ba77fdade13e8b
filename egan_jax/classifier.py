"""The package's methods as a scikit-learn classifier of arrays.

  classifier = EGANClassifier(minority_label='defect').fit(images, labels)
  classifier.predict(new_images)

What a fit on images leaves in `bundle_` is the model that the commands work with:
`bundle.save(classifier.bundle_, folder)` writes one for `egan_jax.predict` and
`egan_jax.export`.
"""

import hashlib
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from egan_jax import fitting, rivals
from egan_jax.bundle import Bundle
from egan_jax.data.batches import choose_side
from egan_jax.errors import UserError
from egan_jax.predictor import Predictor
from egan_jax.rivals import Decision, ThresholdRule

_BLOCK = 256  # rows of features


class EGANClassifier(ClassifierMixin, BaseEstimator):
  """Tells a handful of rare images from many ordinary ones.

  X is either images `[N, H, W, 3]`, uint8 or float in [0, 1] (rounded to 8 bits, as
  files have them), or features `[N, C]` of any kind, for which the backbone is left
  out; then the method must be one that reads features. Methods with kNN go by angles, in
  float32: take off an offset that is thousands of times the features' spread. `fit`
  works from a single image of the minority, and of identical rows of a class uses one: a
  copy would be among the rows that it is held out from.

  The sign of `decision_function` is scikit-learn's: positive for `classes_[1]`,
  whichever of the two is the minority. The package's own score, of
  `decision_.scorer`, is positive or high for the majority and cut at
  `decision_.threshold`; the decision function is its distance from that cut, or
  where that is infinite, as all are called the same, what has its sign and ranks alike.

  Attributes:
    classes_: `[2]`, the labels, sorted.
    minority_label_: the one of them that is the minority.
    decision_: the fitted scorer, its threshold with what it promises, and `notes` on
      what was done otherwise than asked for.
    bundle_: the whole model if X was images, else None.
    n_features_in_: C, if X was features.
  """

  def __init__(
    self,
    method: str = 'fusion',
    *,
    minority_label: Any = None,
    backbone: str = 'EfficientNetLite0',
    weights: str = 'imagenet',
    image_size: int | None = None,
    preprocess: str = 'imagenet',
    fine_tune_layers: int = 5,
    threshold: str = 'default',
    target_specificity: float = 0.95,
    target_sensitivity: float = 0.9,
    cost_false_negative: float = 1.0,
    cost_false_positive: float = 1.0,
    prior: float = 0.5,
    held_out_share: float = 0.2,
    calibrate: bool = True,
    num_epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    dropout_rate: float = 0.2,
    random_state: int | np.random.RandomState | None = None,
  ):
    """Keeps the parameters; `fit` checks those that its method uses.

    Args:
      method: 'egan' or a name of `rivals.names()`.
      minority_label: by default the rarer label; of equally many, the greater one.
      backbone: a name of `backbones.names()`; methods that train no network can
        have several, joined by '+'.
      weights: 'imagenet', a path, or 'none' for random ones.
      image_size: side of the squares the backbone sees, in pixels; by default that
        of the images.
      preprocess: 'imagenet' is what ImageNet weights expect; 'scale' leaves images
        in [0, 1] as the authors of the paper did.
      fine_tune_layers: how many last layers train, for methods that train a head.
      threshold: the rule that chooses it, of `rivals.RULES`, or 'default', that of
        `rivals.default_rule`.
      target_specificity: share of the majority to be called majority.
      target_sensitivity: share of the minority to be called minority.
      cost_false_negative: of a minority image called majority, for 'minimum_cost'.
      cost_false_positive: of a majority image called minority.
      prior: share of the minority where decisions are made; `predict_proba` is for
        that share, not for that of the training images.
      held_out_share: of the majority, for the threshold of a trained head.
      calibrate: whether to fit `predict_proba`; it takes more fits.
      num_epochs: of methods that train a head, like all that follow.
      batch_size: images per step; of 'egan', majority images.
      learning_rate: of Adam.
      dropout_rate: before the last unit.
      random_state: of all that is drawn.
    """
    self.method = method
    self.minority_label = minority_label
    self.backbone = backbone
    self.weights = weights
    self.image_size = image_size
    self.preprocess = preprocess
    self.fine_tune_layers = fine_tune_layers
    self.threshold = threshold
    self.target_specificity = target_specificity
    self.target_sensitivity = target_sensitivity
    self.cost_false_negative = cost_false_negative
    self.cost_false_positive = cost_false_positive
    self.prior = prior
    self.held_out_share = held_out_share
    self.calibrate = calibrate
    self.num_epochs = num_epochs
    self.batch_size = batch_size
    self.learning_rate = learning_rate
    self.dropout_rate = dropout_rate
    self.random_state = random_state

  def fit(self, X: Any, y: Any) -> 'EGANClassifier':
    """Fits the method, its threshold and, if asked for, P(minority).

    Args:
      X: images or features, see the class.
      y: `[N]` labels, of two values.

    Raises:
      ValueError: X or y are not as above.
      UserError: a parameter cannot be.
    """
    X, is_minority = self._check_training(X, y)
    seed = int(check_random_state(self.random_state).randint(2**31 - 1))
    classes = [_drop_copies(X[of_class]) for of_class in (is_minority, ~is_minority)]
    self.bundle_ = None
    if X.ndim == 4:
      self.bundle_, self.decision_ = self._fit_images(*classes, seed)
    elif fitting.reads_features(self.method):
      options = self._rule, self.calibrate, seed
      self.decision_ = fitting.decide_features(self.method, *classes, *options)
    else:
      raise UserError(
        f'method={self.method!r} trains a head on a backbone and needs images'
        f' [N, H, W, 3]; X is {list(X.shape)}'
      )
    return self

  def decision_function(self, X: Any) -> np.ndarray:
    """Distances float64 `[N]` of the scores from the threshold; > 0 is `classes_[1]`.

    Raises:
      NotFittedError: `fit` comes first.
      ValueError: X is not what `fit` was given.
    """
    scores, cut = self._score(X), self.decision_.threshold.value
    is_second = self.minority_label_ == self.classes_[1]
    if np.isinf(cut):
      for_minority = np.sign(cut) * _make_positive(-np.sign(cut) * scores)
      return for_minority if is_second else -for_minority
    if is_second:
      return cut - scores
    # A score on the cut means majority, and so must be above 0 here.
    return scores - np.nextafter(cut, -np.inf)

  def predict(self, X: Any) -> np.ndarray:
    """Labels `[N]`; arguments and errors as of `decision_function`."""
    is_second = self.decision_function(X) > 0
    return self.classes_[is_second.astype(int)]

  @available_if(lambda self: self.calibrate)
  def predict_proba(self, X: Any) -> np.ndarray:
    """Probabilities float64 `[N, 2]` of `classes_`, at the parameter `prior`.

    `predict` follows the threshold, and need not name the more probable class.

    Raises:
      UserError: there was nothing to fit it on, as with a single minority image.
    """
    scores, line = self._score(X), self.decision_.calibration
    if line is None:
      reasons = '; '.join(self.decision_.notes) or 'it was made with calibrate=False'
      raise UserError(f'this fit: {reasons}')
    p_minority = line.probabilities(scores, self.prior)
    columns = np.stack([1 - p_minority, p_minority], axis=1)
    return columns if self.minority_label_ == self.classes_[1] else columns[:, ::-1]

  def __sklearn_tags__(self):
    tags = super().__sklearn_tags__()
    tags.classifier_tags.multi_class = False
    return tags

  def _score(self, X: Any) -> np.ndarray:
    """The package's scores float64 `[N]`."""
    check_is_fitted(self)
    if self.bundle_ is None:
      X = validate_data(self, X, dtype=np.float32, reset=False)
      # In blocks of one shape, or else a row's rounding depends on how many there are.
      padded = np.pad(X, ((0, -len(X) % _BLOCK), (0, 0)))
      blocks = (padded[i : i + _BLOCK] for i in range(0, len(X), _BLOCK))
      scores = np.concatenate([self.decision_.scorer.scores(b) for b in blocks])
      scores = scores[: len(X)]
    else:
      scores = Predictor(self.bundle_).scores(fitting.to_images(X))
    if not np.isfinite(scores).all():
      raise UserError('scores are not finite: X is too large or small for float32')
    return np.asarray(scores, np.float64)

  def _check_training(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """X as an array, y as bool `[N]`, true for the minority; sets what they say."""
    if np.asarray(X).ndim == 4:
      X, y = fitting.to_images(X), column_or_1d(y, warn=True)
      check_consistent_length(X, y)
    else:
      X, y = validate_data(self, X, y, dtype=np.float32)
    check_classification_targets(y)
    if type_of_target(y) == 'multiclass':
      raise ValueError(
        'Only binary classification is supported. The type of the target is multiclass.'
      )
    self.classes_, counts = np.unique(y, return_counts=True)
    if len(self.classes_) < 2:
      raise ValueError(f'y has only one class, {self.classes_[0]}: two are needed')
    if self.minority_label is None:
      self.minority_label_ = self.classes_[int(counts[1] <= counts[0])]
    else:
      (matches,) = np.nonzero(self.classes_ == self.minority_label)
      if not len(matches):
        raise UserError(
          f'minority_label={self.minority_label!r}: choose one of'
          f' {", ".join(map(repr, self.classes_.tolist()))}'
        )
      self.minority_label_ = self.classes_[matches[0]]
    return X, y == self.minority_label_

  @property
  def _rule(self) -> ThresholdRule:
    return rivals.make_rule(
      self.threshold,
      self.method,
      specificity=self.target_specificity,
      sensitivity=self.target_sensitivity,
      cost_false_negative=self.cost_false_negative,
      cost_false_positive=self.cost_false_positive,
      prior=self.prior,
    )

  def _fit_images(
    self, minority: np.ndarray, majority: np.ndarray, seed: int
  ) -> tuple[Bundle, Decision]:
    size = choose_side(majority, self.image_size)
    network = self.backbone, self.weights, self.fine_tune_layers, self.preprocess
    front, decision = fitting.fit_images(
      self.method,
      minority,
      majority,
      fitting.Network(*network, size),
      fitting.Training(
        self.num_epochs, self.batch_size, self.learning_rate, self.dropout_rate
      ),
      self._rule,
      self.calibrate,
      self.held_out_share,
      seed,
    )
    minority_is_second = bool(self.minority_label_ == self.classes_[1])
    names = [str(label) for label in self.classes_]
    bundle = Bundle(
      method=self.method,
      backbones=tuple(self.backbone.split('+')),
      fine_tune_layers=self.fine_tune_layers,
      image_size=size,
      preprocess=self.preprocess,
      front=front,
      scorer=decision.scorer,
      threshold=decision.threshold,
      calibration=decision.calibration,
      prior=self.prior,
      minority_class=names[minority_is_second],
      majority_class=names[not minority_is_second],
      training={
        'seed': seed,
        'num_minority': len(minority),
        'num_majority': len(majority),
        'notes': list(decision.notes),
      },
      held_out_scores=decision.held_out_scores,
      held_out_folds=decision.num_folds,
    )
    return bundle, decision


def _make_positive(values: np.ndarray) -> np.ndarray:
  """Above 0, in the same order."""
  return np.where(values > 0, 1 + values, 1 / (1 - np.minimum(values, 0)))


def _drop_copies(rows: np.ndarray) -> np.ndarray:
  """The first of each set of identical rows, in their order."""
  first = {}
  for position, row in enumerate(rows):
    first.setdefault(hashlib.sha256(np.ascontiguousarray(row)).digest(), position)
  return rows[list(first.values())]
