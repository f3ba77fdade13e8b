"""What a bfloat16 trunk changes: the same discriminators on both trunks' activations.

  python -m experiments.bfloat16_effect --data_dir=DATA_DIR

Plays CIFAR-10 airplane / automobile at 1:500 (digits 8 / 3 without a data folder) with a
float32 trunk, then scores the test images from the activations of either trunk; and
plays the same games with a bfloat16 trunk from the start. EfficientNetLite0.
"""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags

from egan_jax import backbones, command_line, environment, run_files, steps
from egan_jax import state as egan_state
from egan_jax.data import sources
from egan_jax.data.activation_cache import compute_boundary_activations
from egan_jax.evaluation.metrics import evaluate_scores

RESULT = Path(__file__).parent / 'results' / 'bfloat16_effect.json'
_NUM_FOLDS = 5
_DTYPES = ('float32', 'bfloat16')


def make_players(image_size: int) -> dict[str, egan_state.Player]:
  """The same player with a trunk of either dtype."""
  return {
    dtype: egan_state.make_player(
      backbones.get('EfficientNetLite0'),
      'imagenet',
      5,
      'scale',
      image_size,
      jax.random.key(0),
      trunk_dtype=dtype,
    )
    for dtype in _DTYPES
  }


def play(player, minority, majority, num_epochs):
  """States of all folds after training."""
  keys = jax.random.split(jax.random.key(1), _NUM_FOLDS)
  create = functools.partial(
    egan_state.create_game_state,
    generator=player,
    discriminator=player,
    learning_rate=1e-4,
  )
  states = jax.jit(jax.vmap(create))(keys)
  train = jax.jit(steps.train_folds_epoch, static_argnames='batch_size')
  for _ in range(num_epochs):
    states, _ = train(
      states,
      np.ones(_NUM_FOLDS, bool),
      player.trunk,
      majority,
      minority,
      keys,
      batch_size=128,
    )
  return states


def measure(images, num_minority: int, num_epochs: int, image_size: int) -> dict:
  """Scores of the same and of separately trained discriminators, compared."""
  players = make_players(image_size)
  own, majority, test = {}, {}, {}
  for dtype, player in players.items():
    compute = functools.partial(compute_boundary_activations, player.trunk)
    few = compute(images.minority[: _NUM_FOLDS * num_minority])
    own[dtype] = jax.tree.map(
      lambda a: a.reshape(_NUM_FOLDS, num_minority, *a.shape[1:]), few
    )
    majority[dtype] = compute(images.majority)
    test[dtype] = compute(images.test)
  states = {
    dtype: play(player, own[dtype], majority[dtype], num_epochs)
    for dtype, player in players.items()
  }
  score = jax.jit(steps.score_folds, static_argnums=2)

  def score_with(trained, seen):
    return np.asarray(score(states[trained].discriminator, test[seen], 512))

  expected = score_with('float32', 'float32')
  narrow = score_with('float32', 'bfloat16')

  def summarise(scores):
    results = [evaluate_scores(fold, images.test_is_minority) for fold in scores]
    return {
      name: [float(np.mean(values)), float(np.std(values, ddof=1))]
      for name in ('f1', 'balanced_accuracy', 'auroc')
      for values in [[result[name] for result in results]]
    }

  return {
    'num_minority': num_minority,
    'num_epochs': num_epochs,
    'image_size': image_size,
    'same_discriminators': {
      'root_mean_square_difference_in_standard_deviations': float(
        np.sqrt(np.mean((narrow - expected) ** 2)) / expected.std()
      ),
      'decisions_changed': float(np.mean((narrow < 0) != (expected < 0))),
      'float32': summarise(expected),
      'bfloat16': summarise(narrow),
    },
    'trained_in_bfloat16': summarise(score_with('bfloat16', 'bfloat16')),
  }


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  data_dir = flags.DEFINE_string('data_dir', '', 'TFDS data folder; empty: digits.')
  num_epochs = flags.DEFINE_integer('num_epochs', 20, 'Of each game.', lower_bound=1)
  output = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')

  def main() -> None:
    dataset = 'cifar10' if data_dir.value else 'digits'
    classes = (0, 1) if data_dir.value else (8, 3)
    images = sources.load(dataset, data_dir.value, *classes)
    arguments = [
      '--data_dir=DATA_DIR' if a.startswith('--data_dir') else a for a in sys.argv[1:]
    ]
    result = {
      'command': ' '.join(['python -m experiments.bfloat16_effect', *arguments]),
      'environment': environment.describe_environment(),
      'dataset': dataset,
      **measure(images, 10 if data_dir.value else 5, num_epochs.value, 32),
    }
    run_files.write_json(output.value, result)
    print(json.dumps(result, indent=2))

  command_line.run(main, required=())


if __name__ == '__main__':
  run_command()
