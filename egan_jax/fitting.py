"""A method fitted to arrays in memory, without configs, workdirs or test images."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from egan_jax import (
  backbones,
  checks,
  feature_extractor,
  rivals,
  scorers,
  state,
  steps,
)
from egan_jax.backbones.trunk import Trunk, fit_chunks
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.errors import UserError
from egan_jax.evaluation import epoch_choice
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.rivals import Decision, HeadTraining, ThresholdRule
from egan_jax.scorers import FEATURES, Scorer
from egan_jax.steps import Boundary

EGAN = 'egan'

_train_epoch = jax.jit(
  steps.train_epoch, static_argnames=('batch_size', 'chunks'), donate_argnums=0
)


@dataclasses.dataclass(frozen=True)
class Network:
  """A backbone and how it is used; see `state.make_player`."""

  backbone: str
  weights: str
  fine_tune_layers: int
  preprocess: str
  image_size: int


@dataclasses.dataclass(frozen=True)
class Training:
  """How a head is trained; see `rivals.HeadTraining`."""

  num_epochs: int
  batch_size: int
  learning_rate: float
  dropout_rate: float


def reads_features(method: str) -> bool:
  """Whether a method, 'egan' or a rival, needs no images but any features of them.

  Raises:
    UserError: there is no such method.
  """
  if method == EGAN:
    return False
  if method not in rivals.names():
    raise UserError(
      f'unknown method {method!r}: choose one of {EGAN}, {", ".join(rivals.names())}'
    )
  return rivals.get(method).reads == FEATURES


def to_images(X: Any) -> np.ndarray:
  """X as uint8 `[N, H, W, 3]`.

  Raises:
    ValueError: it is not that, nor of whole numbers to 255, nor of floats in [0, 1].
  """
  X = np.asarray(X)
  if X.ndim != 4 or X.shape[3] != 3 or 0 in X.shape:
    raise ValueError(f'X is {list(X.shape)}: images are [N, H, W, 3]')
  if X.dtype == np.uint8:
    return X
  highest = 1 if np.issubdtype(X.dtype, np.floating) else 255
  if not (X.dtype.kind in 'fiu' and X.min() >= 0 and X.max() <= highest):
    raise ValueError('X must be uint8, or float in [0, 1]')
  return np.round(X * (255 / highest)).astype(np.uint8)


def decide_features(
  method: str,
  minority: np.ndarray,
  majority: np.ndarray,
  rule: ThresholdRule,
  calibrate: bool,
  seed: int,
  class_directions: np.ndarray | None = None,
) -> Decision:
  """The decision of a method on features float `[n, C]` and `[M, C]`."""
  (decision,) = rivals.decide(
    rivals.get(method, class_directions),
    majority,
    minority[None],
    (seed,),
    rule=rule,
    calibrate=calibrate,
    split_seed=seed,
  )
  return decision


def fit_images(
  method: str,
  minority: np.ndarray,
  majority: np.ndarray,
  network: Network,
  training: Training,
  rule: ThresholdRule,
  calibrate: bool,
  held_out_share: float,
  seed: int,
) -> tuple[FeatureExtractor | Trunk, Decision]:
  """The decision of a method on images, and what they pass before its scorer.

  Args:
    method: 'egan' or a rival.
    minority: uint8 `[n, H, W, 3]`.
    majority: uint8 `[M, H, W, 3]`.
    network: the backbone.
    training: of methods that train a head.
    rule: of the threshold.
    calibrate: whether to fit P(minority).
    held_out_share: of the majority, for the threshold of a trained head.
    seed: of all that is drawn.

  Raises:
    UserError: no such method, backbone or weights, a number out of its range, or a loss
      or score that is not finite.
  """
  _check_numbers(network, training, held_out_share)
  if reads_features(method):
    names = feature_extractor.split_names(network.backbone)
    front = feature_extractor.make(
      names, network.weights, network.image_size, network.preprocess
    )
    classes = (feature_extractor.run(front, images) for images in (minority, majority))
    directions = feature_extractor.class_directions(names, network.weights)
    return front, decide_features(method, *classes, rule, calibrate, seed, directions)
  backbone = backbones.get(network.backbone)
  backbone.check_discriminator()
  if method == EGAN:
    backbone.check_generator()
  player = state.make_player(
    backbone,
    network.weights,
    network.fine_tune_layers,
    network.preprocess,
    network.image_size,
    jax.random.key(seed),
  )
  head_training = HeadTraining(player, **dataclasses.asdict(training))
  classes = (
    compute_boundary_activations(player.trunk, images)
    for images in (minority, majority)
  )
  options = head_training, rule, calibrate, held_out_share, seed
  if method == EGAN:
    return player.trunk, _decide_game(*classes, *options)
  return player.trunk, _decide_head(method, *classes, *options)


def _check_numbers(network: Network, training: Training, held_out_share: float):
  checks.check_count('image_size', network.image_size)
  checks.check_count('num_epochs', training.num_epochs)
  checks.check_count('batch_size', training.batch_size)
  checks.check_learning_rate('learning_rate', training.learning_rate)
  checks.check_dropout_rate('dropout_rate', training.dropout_rate)
  checks.check_share('held_out_share', held_out_share)


def _decide_head(
  method, minority, majority, training, rule, calibrate, held_out_share, seed
) -> Decision:
  (decision,) = rivals.decide(
    rivals.get(method),
    majority,
    jax.tree.map(lambda a: a[None], minority),
    (seed,),
    training,
    rule,
    calibrate,
    split_seed=seed,
    held_out_share=held_out_share,
  )
  return decision


def _decide_game(
  minority, majority, training, rule, calibrate, held_out_share, seed
) -> Decision:
  number = steps.count_images(majority)
  *split, missing = rivals.split_majority_of_game(number, rule, held_out_share, seed)
  fitted, kept = majority, None
  if not missing:
    fitted, kept = (jax.tree.map(lambda a, i=i: a[i], majority) for i in split)
  scorer = _play(minority, fitted, training, seed)
  scores = None if kept is None else scorer.scores(kept)
  return rivals.decide_game(scorer, scores, rule, calibrate, missing)


def _play(
  minority: Boundary, majority: Boundary, training: HeadTraining, seed: int
) -> Scorer:
  """The discriminator of a game at the epoch that `epoch_choice.best_fed` chooses."""
  player, key = training.player, jax.random.key(seed)
  rates = training.learning_rate, training.dropout_rate
  game = jax.jit(lambda key: state.create_game_state(key, player, player, *rates))(key)
  fed = [
    jax.tree.map(lambda a: a[: epoch_choice.NUM_FED_SCORED], activations)
    for activations in (minority, majority)
  ]
  chunks = fit_chunks(player.trunk)
  records, deciding = [], None
  epochs = range(1, training.num_epochs + 1)
  for epoch in tqdm(epochs, unit='epoch', disable=None):
    game, terms = _train_epoch(
      game,
      player.trunk,
      majority,
      minority,
      key,
      batch_size=training.batch_size,
      chunks=chunks,
    )
    _check_finite('loss', epoch, jax.tree.leaves(jax.device_get(terms)))
    scorer = scorers.from_discriminator(game.discriminator, player)
    # Those after the last step, which no loss shows.
    scores = [scorer.scores(images) for images in fed]
    _check_finite('score', epoch, np.concatenate(scores))
    records.append({'epoch': epoch, 'fed_auroc': epoch_choice.compute_auroc(*scores)})
    if epoch_choice.best_fed(records) == epoch:
      deciding = jax.tree.map(jnp.copy, scorer)  # the next epoch consumes the game
  return deciding


def _check_finite(name: str, epoch: int, values: Any) -> None:
  if not np.isfinite(values).all():
    raise UserError(
      f'a {name} is not finite in epoch {epoch}: try a lower learning_rate'
    )
