"""Keeps a finished run under experiments/results: its numbers and its figures.

The grid of generated images stays behind: it shows images of the data set, which
may not be this project's to pass on.

  python -m experiments.keep_run --run=DIR --name=NAME --command='python -m ...'

The command is the one that made the run, with DATA_DIR and DIR for folders.
"""

import shutil
from pathlib import Path

from absl import flags

from egan_jax import command_line, run_files, workdir
from egan_jax.reporting import finished_run

RESULTS = Path(__file__).parent / 'results'

_RUN = flags.DEFINE_string('run', None, 'Workdir of a finished run.')
_NAME = flags.DEFINE_string('name', None, 'Name of the result.')
_COMMAND = flags.DEFINE_string('command', None, 'What made the run.')


def main() -> None:
  run = finished_run.read(_RUN.value)
  data_dir = 'DATA_DIR' if run.config['data_dir'] else ''
  result = {
    'command': _COMMAND.value,
    'config': run.config | {'data_dir': data_dir},
    'summary': run.summary,
  }
  run_files.write_json(RESULTS / f'{_NAME.value}.json', result)
  if (figures := run.folder / workdir.FIGURES).is_dir():  # of a game only
    shutil.copytree(
      figures,
      RESULTS / _NAME.value,
      ignore=shutil.ignore_patterns('generated_images.png'),
      dirs_exist_ok=True,
    )


if __name__ == '__main__':
  command_line.run(main, required=(_RUN, _NAME, _COMMAND))
