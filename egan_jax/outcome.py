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

from egan_jax import (
  feature_extractor,
  game_setup,
  pretrained,
  rivals,
  scorers,
  two_covariance,
)
from egan_jax.backbones.trunk import Trunk
from egan_jax.data.activation_cache import ActivationCache
from egan_jax.data.draws import Draws
from egan_jax.data.two_classes import TwoClasses, take
from egan_jax.errors import UserError
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.game import Played
from egan_jax.rivals import Decision, HeadTraining, Rival
from egan_jax.scorers import BOUNDARY, FEATURES
from egan_jax.settings import DecisionSettings, Settings
from egan_jax.steps import count_images


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A method, decided.

  Attributes:
    decisions: of every fold.
    scores: test scores `[F, T]`.
    front: from images to what the scorers read.
    backbones: of those in `front`, by name, SHA-256 of the weights before training.
    features: where `front` ends in them, those of the training images: of every fold's
      minority `[F, n, C]` and of the majority `[M, C]`.
  """

  decisions: Sequence[Decision]
  scores: np.ndarray
  front: Trunk | FeatureExtractor
  backbones: Mapping[str, str]
  features: tuple[np.ndarray, np.ndarray] | None = None


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


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """What is kept from a game, for the threshold.

  Attributes:
    majority: positions `[H]` in the majority images.
    missing: why there are none, if there are none.
  """

  majority: np.ndarray
  missing: str


def check_draws(settings: DecisionSettings, draws: Draws) -> None:
  """Raises `UserError` if draws differ in nothing and the method neither.

  Methods on features leave nothing to chance but the draw of the minority.
  """
  names = _name_rivals(settings)
  trains = settings.plays or any(rivals.get(n).reads == BOUNDARY for n in names)
  first, *others = map(set, draws.minority.tolist())
  if others and not trains and all(other == first for other in others):
    raise UserError(
      f'all {1 + len(others)} draws are the same {len(first)} minority images, and'
      f' {settings.method} leaves nothing else to chance: set config.num_seeds=1, or'
      ' fewer images with config.num_minority'
    )


def hold_out(settings: DecisionSettings, draws: Draws) -> tuple[Draws, HeldOut]:
  """The draws that a game trains on, and what is kept from it."""
  if not settings.plays:
    return draws, HeldOut(draws.majority[:0], 'no game is played')
  fitted, kept, missing = rivals.split_majority_of_game(
    len(draws.majority), settings.rule, settings.held_out_share, settings.seed
  )
  trained_on = dataclasses.replace(draws, majority=draws.majority[fitted])
  return trained_on, HeldOut(draws.majority[kept], missing)


def reach(
  settings: Settings,
  images: TwoClasses,
  draws: Draws,
  cache: ActivationCache,
  held_out: HeldOut,
  played: Played | None,
  loading_seconds: float,
) -> Outcome:
  """Fits and decides what is asked for; of several methods, chooses one.

  Args:
    settings: of the run. A rival's head trains as the game's discriminator does.
    images: of both classes.
    draws: all images of the run, those held out from the game among them.
    cache: for the activations of real images.
    held_out: what the game did not train on.
    played: the game, where `settings.decision.plays`.
    loading_seconds: what reading the images took.
  """
  start = time.perf_counter()
  candidates = {}
  if played is not None:
    candidates['egan'] = _decide_game(settings, played, images, draws, cache, held_out)
  names = _name_rivals(settings.decision)
  if chosen := [name for name in names if rivals.get(name).reads == FEATURES]:
    candidates |= _decide_features(chosen, settings, images, draws)
  if chosen := [name for name in names if rivals.get(name).reads == BOUNDARY]:
    candidates |= _decide_heads(chosen, settings, images, draws, cache)
  method = settings.decision.method
  why = f'{method} was asked for'
  if method == 'auto':
    # By the draw whose model is kept: more than one user would have is in all of them.
    of_first = {name: candidate.decisions[0] for name, candidate in candidates.items()}
    method, why = rivals.choose(of_first)
    if len(draws.minority) > 1:
      why += (
        f'. That is of the first of {len(draws.minority)} draws, whose model is kept'
      )
  return Outcome(
    method=method,
    why=why,
    candidates=candidates,
    seconds={
      'setup': round(loading_seconds, 3),
      'decide': round(time.perf_counter() - start, 3),
    },
  )


def _name_rivals(decision: DecisionSettings) -> list[str]:
  """Those that are fitted."""
  if decision.method == 'egan':
    return []
  if decision.method != 'auto':
    return [decision.method]
  return [
    name
    for name in rivals.names()
    if name != 'always_minority'
    and (decision.candidates == 'all' or rivals.get(name).reads == FEATURES)
  ]


def _decide_game(
  settings: Settings,
  played: Played,
  images: TwoClasses,
  draws: Draws,
  cache: ActivationCache,
  held_out: HeldOut,
) -> Candidate:
  """The discriminators of a game, each with its threshold."""
  trunk = played.player.trunk
  majority = None
  if not held_out.missing:
    majority = cache.compute(trunk, images.majority[held_out.majority])
  decisions = []
  for fold in range(len(draws.minority)):
    network = jax.tree.map(lambda a, f=fold: a[f], played.discriminators)
    scorer = scorers.from_discriminator(
      network, played.player, settings.game.head_activation
    )
    scores = None if majority is None else scorer.scores(majority)
    rule, calibrate = settings.decision.rule, majority is not None
    decisions.append(
      rivals.decide_game(scorer, scores, rule, calibrate, held_out.missing)
    )
  name = settings.networks.discriminator_backbone
  backbones = {name: played.fingerprints['discriminator']}
  return Candidate(decisions, played.scores, trunk, backbones)


def _decide_features(
  chosen: Sequence[str], settings: Settings, images: TwoClasses, draws: Draws
) -> dict[str, Candidate]:
  """Rivals on pooled features of whole backbones."""
  networks, decision = settings.networks, settings.decision
  names = feature_extractor.split_names(
    decision.feature_backbones or networks.discriminator_backbone
  )
  extractor = feature_extractor.make(
    names,
    networks.discriminator_weights,
    networks.image_size,
    networks.preprocess,
    mirrored=decision.mirror_images,
  )
  run = functools.partial(feature_extractor.run, extractor)
  drawn = run(images.minority[draws.minority.ravel()])
  minority = drawn.reshape(*draws.minority.shape, -1)
  majority = run(take(images.majority, draws.majority))
  if len(majority) > 1 and not two_covariance.has_spread(majority):
    raise UserError(
      f'{"+".join(names)} sees no difference between majority images of'
      f' {networks.image_size} px: choose a larger config.image_size'
    )
  test = run(images.test) if len(images.test) else drawn[:0]
  fingerprints = [pretrained.fingerprint(trunk.variables) for trunk in extractor.trunks]
  directions = feature_extractor.class_directions(names, networks.discriminator_weights)
  backbones = dict(zip(names, fingerprints, strict=True))
  inputs = _Inputs(majority, minority, test, extractor, backbones)
  return {
    name: _decide(decision, rivals.get(name, directions), inputs) for name in chosen
  }


def _decide_heads(
  chosen: Sequence[str],
  settings: Settings,
  images: TwoClasses,
  draws: Draws,
  cache: ActivationCache,
) -> dict[str, Candidate]:
  """Rivals that train the discriminator's head."""
  game = settings.game
  player = game_setup.make_player(settings.networks, 'discriminator')
  training = HeadTraining(
    player,
    num_epochs=game.num_epochs,
    batch_size=game.batch_size,
    learning_rate=game.learning_rate,
    dropout_rate=game.dropout_rate,
  )
  majority = cache.compute(player.trunk, take(images.majority, draws.majority))
  minority = game_setup.compute_folds(cache, player.trunk, images, draws.minority)
  test = cache.compute(player.trunk, images.test)
  backbones = {settings.networks.discriminator_backbone: player.fingerprint}
  inputs = _Inputs(majority, minority, test, player.trunk, backbones, training)
  return {name: _decide(settings.decision, rivals.get(name), inputs) for name in chosen}


@dataclasses.dataclass(frozen=True)
class _Inputs:
  """What rivals of a kind read of all images, and what made it of them."""

  majority: Any
  minority: Any
  test: Any
  front: Trunk | FeatureExtractor
  backbones: Mapping[str, str]
  training: HeadTraining | None = None


def _decide(settings: DecisionSettings, rival: Rival, inputs: _Inputs) -> Candidate:
  """One rival on every fold."""
  num_folds = count_images(inputs.minority)
  seeds = np.random.SeedSequence(settings.seed).generate_state(num_folds).tolist()
  decisions = rivals.decide(
    rival,
    inputs.majority,
    inputs.minority,
    seeds,
    inputs.training,
    settings.rule,
    calibrate=True,
    split_seed=settings.seed,
    held_out_share=settings.held_out_share,
  )
  scores = [rival.score(decision.scorer, inputs.test) for decision in decisions]
  return Candidate(
    decisions,
    np.stack(scores),
    inputs.front,
    inputs.backbones,
    (inputs.minority, inputs.majority) if rival.reads == FEATURES else None,
  )
