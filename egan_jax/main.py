"""The command line: `python -m egan_jax.main --config=FILE --workdir=DIR`."""

from absl import flags
from ml_collections import config_flags

from egan_jax import command_line, train, workdir
from egan_jax.errors import UserError
from egan_jax.reporting import tables

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'A file of configs/, with its argument after a colon.',
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for all that the run writes; a stopped run resumes there.'
)


def main() -> None:
  """Runs one config and prints its result."""
  summary = train.train_and_evaluate(_CONFIG.value, _WORKDIR.value)
  print(tables.result_table(summary))
  print(f'\n{workdir.describe_files(_WORKDIR.value)}')


def _parse_flags(arguments: list[str]) -> list[str]:
  """Parses flags; what a user can mistype comes out as `UserError`."""
  try:
    positional = flags.FLAGS(arguments)
    if _CONFIG.value:
      _CONFIG.value.items()  # a file that could not be read complains when used
    return positional
  except flags.Error as error:
    first, *rest = str(error).splitlines()
    # The rest is a traceback, whose last line says what is wrong.
    raise UserError(' '.join([first, *rest[-1:]])) from error
  except (AttributeError, KeyError) as error:
    reason = error
    while isinstance(reason, Exception):  # a message in an error in an error
      reason = reason.args[0]
    raise UserError(f'unknown config field: {" ".join(reason.split())}') from error
  except OSError as error:
    reason = str(error).splitlines()[-1].strip()
    raise UserError(f'the config file cannot be read: {reason}') from error


def run() -> None:
  """Parses flags and runs; bad input ends in one line and exit status 1."""
  command_line.run(main, required=(_CONFIG, _WORKDIR), parse_flags=_parse_flags)


if __name__ == '__main__':
  run()
