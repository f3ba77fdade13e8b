"""Which epoch to use: rules that read training images only, compared on real games.

  python -m experiments.epoch_rules --setting=airplane --data_dir=DATA_DIR --runs=DIR
  python -m experiments.epoch_rules --setting=digits --runs=DIR
  python -m experiments.epoch_rules --report --runs=DIR

Each game holds a fifth of its majority and of its minority images back. After every
epoch the discriminator and a running average of its parameters score these and the
test images; the scores go to DIR, one file per setting and seed, and a game whose
file is there is not played again. The report judges every rule of
`egan_jax.evaluation.epoch_choice` on all games that are there; of a setting without
any, what was reported before stays.
"""

import dataclasses
import functools
import io
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from tqdm import tqdm

from egan_jax import backbones, command_line, environment, run_files, steps
from egan_jax import state as egan_state
from egan_jax.backbones.trunk import fit_chunk
from egan_jax.data import sources
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.data.draws import draw
from egan_jax.errors import UserError
from egan_jax.evaluation.epoch_choice import NUM_FED_SCORED
from experiments.paper import epoch_report

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

_SETTING = flags.DEFINE_enum('setting', None, list(SETTINGS), 'The games to play.')
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', "TFDS's data folder, or that of the X-rays; digits do without."
)
_RUNS = flags.DEFINE_string('runs', None, 'Folder of the scores.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'A seed: five folds.')
_NUM_EPOCHS = flags.DEFINE_integer('num_epochs', 100, 'Of each game.', lower_bound=2)
_REPORT = flags.DEFINE_bool('report', False, 'Play nothing; judge what was played.')


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
    static_argnames=('batch_size', 'images_at_once'),
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
      images_at_once=fit_chunk(player.trunk.image_size),
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


def main() -> None:
  """Plays what is missing, or reports."""
  runs = Path(_RUNS.value)
  if _REPORT.value:
    _report(runs)
    return
  if _SETTING.value is None:
    raise UserError('--setting is missing; or --report what was played')
  for seed in map(int, _SEEDS.value):
    if seed in find_games(runs, _SETTING.value, _NUM_EPOCHS.value):
      continue
    scores = play(SETTINGS[_SETTING.value], _DATA_DIR.value, seed, _NUM_EPOCHS.value)
    buffer = io.BytesIO()
    np.savez(buffer, **scores)
    name = f'epoch_rules_{_SETTING.value}_{_NUM_EPOCHS.value}_seed{seed}.npz'
    run_files.write_bytes(runs / name, buffer.getvalue())
    print(f'{runs / name}: {float(scores["seconds"]):.0f} s', file=sys.stderr)


def _report(runs: Path) -> None:
  before, settings = epoch_report.read(), {}
  for name, setting in SETTINGS.items():
    games = find_games(runs, name, _NUM_EPOCHS.value)
    if games:
      settings[name] = epoch_report.judge(
        setting.title, setting.num_fed[1], BATCH_SIZE, games
      )
    elif name in before:
      settings[name] = before[name]
  epoch_report.write(
    {
      'held_back': HELD_BACK,
      'decay': DECAY,
      'settings': settings,
    }
  )


if __name__ == '__main__':
  command_line.run(main, required=(_RUNS,))
