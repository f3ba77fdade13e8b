"""Which epoch to use: rules that read training images only, compared on real games.

  python -m experiments.epoch_rules --setting=airplane --data_dir=DATA_DIR --runs=DIR
  python -m experiments.epoch_rules --setting=digits --runs=DIR
  python -m experiments.epoch_rules --report --runs=DIR

Each game holds a fifth of its majority and of its minority images back. After every
epoch the discriminator and a running average of its parameters score these and the
test images; the scores go to DIR, one file per setting and seed, and a game whose
file is there is not played again. The report judges every rule of
`rules` on all games that are there; of a setting without
any, what was reported before stays.
"""

import io
import sys
from pathlib import Path

import numpy as np
from absl import flags

from egan_jax import command_line, run_files
from egan_jax.errors import UserError
from experiments.epoch_rules import games, report
from experiments.epoch_rules.games import SETTINGS

_SETTING = flags.DEFINE_enum('setting', None, list(SETTINGS), 'The games to play.')
_DATA_DIR = flags.DEFINE_string(
  'data_dir', '', "TFDS's data folder, or that of the X-rays; digits do without."
)
_RUNS = flags.DEFINE_string('runs', None, 'Folder of the scores.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'A seed: five folds.')
_NUM_EPOCHS = flags.DEFINE_integer('num_epochs', 100, 'Of each game.', lower_bound=2)
_REPORT = flags.DEFINE_bool('report', False, 'Play nothing; judge what was played.')


def main() -> None:
  """Plays what is missing, or reports."""
  runs = Path(_RUNS.value)
  if _REPORT.value:
    _report(runs)
    return
  if _SETTING.value is None:
    raise UserError('--setting is missing; or --report what was played')
  for seed in map(int, _SEEDS.value):
    if seed in games.find_games(runs, _SETTING.value, _NUM_EPOCHS.value):
      continue
    scores = games.play(
      SETTINGS[_SETTING.value], _DATA_DIR.value, seed, _NUM_EPOCHS.value
    )
    buffer = io.BytesIO()
    np.savez(buffer, **scores)
    name = f'epoch_rules_{_SETTING.value}_{_NUM_EPOCHS.value}_seed{seed}.npz'
    run_files.write_bytes(runs / name, buffer.getvalue())
    print(f'{runs / name}: {float(scores["seconds"]):.0f} s', file=sys.stderr)


def _report(runs: Path) -> None:
  before, settings = report.read(), {}
  for name, setting in SETTINGS.items():
    played = games.find_games(runs, name, _NUM_EPOCHS.value)
    if played:
      settings[name] = report.judge(
        setting.title, setting.num_fed[1], games.BATCH_SIZE, played
      )
    elif name in before:
      settings[name] = before[name]
  report.write(
    {
      'held_back': games.HELD_BACK,
      'decay': games.DECAY,
      'settings': settings,
    }
  )


if __name__ == '__main__':
  command_line.run(main, required=(_RUNS,))
