"""Games that hold a fifth of their images back, and their scores epoch by epoch."""

import dataclasses
import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from egan_jax import backbones, environment, steps
from egan_jax import state as egan_state
from egan_jax.backbones.trunk import fit_chunks
from egan_jax.data import sources
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.data.draws import draw
from egan_jax.evaluation.epoch_choice import NUM_FED_SCORED

NUM_FOLDS = 5
HELD_BACK = 0.2  # of either class
DECAY = 0.9  # of the running average, per epoch
BATCH_SIZE = 128  # majority images per step


@dataclasses.dataclass(frozen=True)
class Setting:
  """Two classes and how many images of each, minority first; what backbones see."""

  dataset: str
  classes: tuple[int | str, int | str]
  num_images: tuple[int, int]
  title: str
  image_size: int = 32
  preprocess: str = 'scale'

  @property
  def num_fed(self) -> tuple[int, int]:
    """Images of each class that are not held back."""
    minority, majority = (n - round(HELD_BACK * n) for n in self.num_images)
    return minority, majority


SETTINGS = {
  'airplane': Setting(
    'cifar10', (0, 1), (10, 5000), 'CIFAR-10 airplane / automobile, 1:500'
  ),
  'airplane_3': Setting(
    'cifar10', (0, 1), (3, 5000), 'CIFAR-10 airplane / automobile, 1:1667'
  ),
  'bird': Setting('cifar10', (2, 3), (10, 5000), 'CIFAR-10 bird / cat, 1:500'),
  'cifar100': Setting(
    *('cifar100', (0, 1), (10, 500), 'CIFAR-100 classes 0 / 1, 1:50, 96 px'),
    *(96, 'imagenet'),
  ),
  'chest_xray': Setting(
    'folder', ('PNEUMONIA', 'NORMAL'), (30, 1080), 'chest X-ray, 1:36'
  ),
  'digits': Setting('digits', (8, 3), (5, 100), 'digits 8 / 3, 1:20'),
}


def play(
  setting: Setting,
  data_dir: str,
  seed: int,
  num_epochs: int,
  backbone: str = 'EfficientNetLite0',
  weights: str = 'imagenet',
) -> dict[str, np.ndarray]:
  """The scores of five games, epoch by epoch.

  Returns:
    float32 `[2, epochs, folds, images]`, by the discriminator as it is and by the
    running average, as `held_out` (majority), `left_out` (minority; each fold its
    own), `fed_majority`, `fed_minority` and `test`; `is_minority` `[images]` of the
    test; `seconds` of training and scoring; `environment`, where that was, as JSON.
  """
  images = sources.load(
    setting.dataset,
    data_dir,
    *setting.classes,
    image_size=setting.image_size,
    seed=seed,
  )
  num_minority, num_majority = setting.num_images
  draws = draw(
    seed,
    NUM_FOLDS,
    num_minority,
    num_majority,
    len(images.minority),
    len(images.majority),
  )
  player = egan_state.make_player(
    backbones.get(backbone),
    weights,
    5,
    setting.preprocess,
    setting.image_size,
    jax.random.key(seed),
  )
  activate = functools.partial(compute_boundary_activations, player.trunk)

  shuffled = np.random.default_rng(seed).permutation(draws.majority)
  held_back = np.subtract(setting.num_images, setting.num_fed)
  held_out, majority = np.split(shuffled, [held_back[1]])
  minority = activate(images.minority[draws.minority.ravel()])
  minority = jax.tree.map(
    lambda a: a.reshape(*draws.minority.shape, *a.shape[1:]), minority
  )
  # The rows of a draw are in random order: the first will do.
  left_out, fed = (
    jax.tree.map(lambda a, part=part: a[:, part], minority)
    for part in (slice(held_back[0]), slice(held_back[0], None))
  )
  majority = activate(images.majority[majority])
  start = time.perf_counter()
  scores = _play_folds(
    player,
    majority,
    fed,
    {
      'fed_majority': jax.tree.map(lambda a: a[:NUM_FED_SCORED], majority),
      'held_out': activate(images.majority[held_out]),
      'test': activate(images.test),
    },
    {'left_out': left_out, 'fed_minority': fed},
    seed,
    num_epochs,
  )
  return {
    **scores,
    'is_minority': images.test_is_minority,
    'seconds': np.array(time.perf_counter() - start),
    'environment': np.array(json.dumps(environment.describe_environment())),
  }


def _play_folds(player, majority, minority, shared, own, seed, num_epochs):
  keys = jax.random.split(jax.random.key(seed), NUM_FOLDS)
  create = functools.partial(
    egan_state.create_game_state,
    generator=player,
    discriminator=player,
    learning_rate=1e-4,
  )
  states = jax.jit(jax.vmap(create))(keys)
  train = jax.jit(
    steps.train_folds_epoch,
    static_argnames=('batch_size', 'chunks'),
    donate_argnums=0,
  )

  @jax.jit
  def score(discriminators):
    result = {
      name: steps.score_folds(discriminators, boundary, 512)
      for name, boundary in shared.items()
    }
    for name, boundary in own.items():
      result[name] = steps.score_own(discriminators, boundary, 512)
    return result

  @jax.jit
  def average(old, new):
    return jax.tree.map(lambda a, b: DECAY * a + (1 - DECAY) * b, old, new)

  chunks = fit_chunks(player.trunk)
  kept, averaged = [], None
  for _ in tqdm(range(num_epochs), unit='epoch', disable=None):
    states, _ = train(
      states,
      jnp.ones(NUM_FOLDS, bool),
      player.trunk,
      majority,
      minority,
      keys,
      batch_size=BATCH_SIZE,
      chunks=chunks,
    )
    networks = states.discriminator
    # A copy, because the next epoch consumes the states.
    averaged = (
      jax.tree.map(jnp.copy, networks.params)
      if averaged is None
      else average(averaged, networks.params)
    )
    both = score(networks), score(networks.replace(params=averaged))
    kept.append(jax.tree.map(lambda *scorers: np.stack(scorers), *both))
  return {name: np.stack([e[name] for e in kept], axis=1) for name in kept[0]}


def find_games(runs: Path, name: str, num_epochs: int) -> dict[int, Path]:
  """The files of the games that were played, by seed."""
  prefix = f'epoch_rules_{name}_{num_epochs}_seed'
  return {
    int(path.stem.removeprefix(prefix)): path
    for path in sorted(runs.glob(f'{prefix}*.npz'))
  }
