"""What a run of any method comes to: a decision for every fold, and test scores.

The game leaves discriminators, a rival a fit; from here on both are a scorer with a
threshold. Everything is fitted and chosen on training images; test images are only scored.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from egan_jax import feature_extractor, game_setup, pretrained, rivals, scorers
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.draws import Draws
from egan_jax.data.two_classes import TwoClasses, take
from egan_jax.evaluation import epoch_choice
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.game import Played
from egan_jax.rivals import Decision, HeadTraining, Rival, ThresholdRule
from egan_jax.scorers import BOUNDARY, FEATURES


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A method, decided.

  Attributes:
    decisions: of every fold.
    scores: test scores `[F, T]`.
    front: from images to what the scorers read.
    backbones: of those in `front`, by name, SHA-256 of the weights before training.
  """

  decisions: Sequence[Decision]
  scores: np.ndarray
  front: Trunk | FeatureExtractor
  backbones: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The method to deploy, and those it was chosen from.

  Attributes:
    method: 'egan' or a rival's name, a key of `candidates`.
    why: in a sentence, why it is this one.
    candidates: all methods of the run by name; more than one of 'auto' only.
    seconds: by phase.
  """

  method: str
  why: str
  candidates: Mapping[str, Candidate]
  seconds: Mapping[str, float]

  @property
  def chosen(self) -> Candidate:
    """The method to deploy."""
    return self.candidates[self.method]


def plays(config: dict) -> bool:
  """Whether the config's method is the game, or may be."""
  return config['method'] == 'egan' or (
    config['method'] == 'auto' and config['candidates'] == 'all'
  )


def make_rule(config: dict) -> ThresholdRule:
  """The threshold rule of a config."""
  return rivals.make_rule(
    config['threshold'],
    config['method'],
    specificity=config['target_specificity'],
    sensitivity=config['target_sensitivity'],
    cost_false_negative=config['cost_false_negative'],
    cost_false_positive=config['cost_false_positive'],
    prior=config['prior'],
  )


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """What is kept from a game, for the threshold.

  Attributes:
    majority: positions `[H]` in the majority images.
    missing: why there are none, if there are none.
  """

  majority: np.ndarray
  missing: str


def hold_out(config: dict, draws: Draws) -> tuple[Draws, HeldOut]:
  """The draws that a game trains on, and what is kept from it."""
  if not plays(config):
    return draws, HeldOut(draws.majority[:0], 'no game is played')
  fitted, kept, missing = rivals.split_majority_of_game(
    len(draws.majority), make_rule(config), config['held_out_share'], config['seed']
  )
  trained_on = dataclasses.replace(draws, majority=draws.majority[fitted])
  return trained_on, HeldOut(draws.majority[kept], missing)


def reach(
  config: dict,
  images: TwoClasses,
  draws: Draws,
  held_out: HeldOut,
  played: Played | None,
  loading_seconds: float,
) -> Outcome:
  """Fits and decides what the config asks for; of several methods, chooses one.

  Args:
    config: as of `config.default`.
    images: of both classes.
    draws: all images of the run, those held out from the game among them.
    held_out: what the game did not train on.
    played: the game, where `plays`.
    loading_seconds: what reading the images took.
  """
  start = time.perf_counter()
  rule, names = make_rule(config), _list_rivals(config)
  candidates = {}
  if played is not None:
    candidates['egan'] = _decide_game(config, played, images, draws, held_out, rule)
  for reads, decide in ((FEATURES, _decide_features), (BOUNDARY, _decide_heads)):
    chosen = [name for name in names if rivals.get(name).reads == reads]
    if chosen:
      candidates |= decide(config, chosen, images, draws, rule)
  method = config['method']
  why = f'{method} was asked for'
  if method == 'auto':
    method, why = rivals.choose({name: c.decisions for name, c in candidates.items()})
  return Outcome(
    method=method,
    why=why,
    candidates=candidates,
    seconds={
      'setup': round(loading_seconds, 3),
      'decide': round(time.perf_counter() - start, 3),
    },
  )


def _list_rivals(config: dict) -> list[str]:
  """The rivals that the config has fitted."""
  if config['method'] == 'egan':
    return []
  if config['method'] != 'auto':
    return [config['method']]
  return [
    name
    for name in rivals.names()
    if name != 'always_minority'
    and (config['candidates'] == 'all' or rivals.get(name).reads == FEATURES)
  ]


def _decide_game(
  config: dict,
  played: Played,
  images: TwoClasses,
  draws: Draws,
  held_out: HeldOut,
  rule: ThresholdRule,
) -> Candidate:
  """The discriminators of a game, each with its threshold.

  Rules of the threshold that need minority images have none: see
  `epoch_choice.MINORITY_CHOSE`.
  """
  trunk = played.player.trunk
  cache = game_setup.open_activation_cache(config)
  majority = None
  if not held_out.missing:
    majority = cache.compute(trunk, images.majority[held_out.majority])
  decisions = []
  for fold in range(len(draws.minority)):
    network = jax.tree.map(lambda a, f=fold: a[f], played.discriminators)
    scorer = scorers.from_discriminator(network, played.player)
    decision = rivals.decide_from_scores(
      scorer,
      None if majority is None else scorer.scores(majority),
      None,
      rule,
      calibrate=majority is not None,
      no_held_out=held_out.missing,
      no_left_out=epoch_choice.MINORITY_CHOSE,
    )
    decisions.append(decision)
  backbones = {config['discriminator_backbone']: played.fingerprints['discriminator']}
  return Candidate(decisions, played.scores, trunk, backbones)


def _decide_features(
  config: dict,
  chosen: Sequence[str],
  images: TwoClasses,
  draws: Draws,
  rule: ThresholdRule,
) -> dict[str, Candidate]:
  """Rivals on pooled features of whole backbones."""
  names = feature_extractor.split_names(
    config['feature_backbones'] or config['discriminator_backbone']
  )
  extractor = feature_extractor.make(
    names,
    config['discriminator_weights'],
    config['image_size'],
    config['preprocess'],
    mirrored=config['mirror_images'],
  )
  run = functools.partial(feature_extractor.run, extractor)
  drawn = run(images.minority[draws.minority.ravel()])
  minority = drawn.reshape(*draws.minority.shape, -1)
  majority = run(take(images.majority, draws.majority))
  test = run(images.test) if len(images.test) else drawn[:0]
  fingerprints = [pretrained.fingerprint(trunk.variables) for trunk in extractor.trunks]
  directions = feature_extractor.class_directions(
    names, config['discriminator_weights']
  )
  backbones = dict(zip(names, fingerprints, strict=True))
  inputs = _Inputs(majority, minority, test, extractor, backbones)
  return {
    name: _decide(config, rivals.get(name, directions), inputs, rule) for name in chosen
  }


def _decide_heads(
  config: dict,
  chosen: Sequence[str],
  images: TwoClasses,
  draws: Draws,
  rule: ThresholdRule,
) -> dict[str, Candidate]:
  """Rivals that train the discriminator's head."""
  player = game_setup.make_player(config, 'discriminator')
  training = HeadTraining(
    player,
    num_epochs=config['num_epochs'],
    batch_size=config['batch_size'],
    learning_rate=config['learning_rate'],
    dropout_rate=config['dropout_rate'],
  )
  cache = game_setup.open_activation_cache(config)
  majority = cache.compute(player.trunk, take(images.majority, draws.majority))
  minority = game_setup.compute_folds(cache, player.trunk, images, draws.minority)
  test = cache.compute(player.trunk, images.test)
  backbones = {config['discriminator_backbone']: player.fingerprint}
  inputs = _Inputs(majority, minority, test, player.trunk, backbones, training)
  return {name: _decide(config, rivals.get(name), inputs, rule) for name in chosen}


@dataclasses.dataclass(frozen=True)
class _Inputs:
  """What rivals of a kind read of all images, and what made it of them."""

  majority: Any
  minority: Any
  test: Any
  front: Trunk | FeatureExtractor
  backbones: Mapping[str, str]
  training: HeadTraining | None = None


def _decide(
  config: dict, rival: Rival, inputs: _Inputs, rule: ThresholdRule
) -> Candidate:
  """One rival on every fold."""
  num_folds = jax.tree.leaves(inputs.minority)[0].shape[0]
  seeds = np.random.SeedSequence(config['seed']).generate_state(num_folds).tolist()
  decisions = rivals.decide(
    rival,
    inputs.majority,
    inputs.minority,
    seeds,
    inputs.training,
    rule,
    calibrate=True,
    split_seed=config['seed'],
    held_out_share=config['held_out_share'],
  )
  scores = [rival.score(decision.scorer, inputs.test) for decision in decisions]
  return Candidate(decisions, np.stack(scores), inputs.front, inputs.backbones)
