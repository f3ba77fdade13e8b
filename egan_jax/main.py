"""The command line: `python -m egan_jax.main --config=FILE --workdir=DIR`.

On several hosts (docs/parallel.md), the same command on each, with three flags more.
"""

import contextlib

from absl import flags
from ml_collections import config_flags

from egan_jax import command_line, hosts, train, workdir
from egan_jax.errors import UserError
from egan_jax.reporting import tables

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'A file of configs/, with its argument after a colon.',
  lock_config=True,
)
_WORKDIR = command_line.define_path(
  'workdir', 'Folder for all that the run writes; a stopped run resumes there.'
)
_PROFILE = command_line.define_path(
  'profile', 'Folder for a jax.profiler trace of one epoch (docs/speed.md).'
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'Run on the hosts of which SLURM, Open MPI or a TPU pod tells this one.',
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
  'coordinator_address', None, 'Of several hosts, the first: HOST:PORT, a free port.'
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many hosts run.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Which this is, from 0.')


def main() -> None:
  """Runs one config and prints its result, on the first host."""
  with _join_hosts():
    summary = train.train_and_evaluate(_CONFIG.value, _WORKDIR.value, _PROFILE.value)
    if hosts.is_first():
      print(tables.run_text(summary))
      print(f'\n{workdir.describe_files(_WORKDIR.value)}')


def _join_hosts() -> contextlib.AbstractContextManager:
  """What the flags say of other hosts; `UserError` if they make no sense."""
  given = (_COORDINATOR_ADDRESS, _NUM_PROCESSES, _PROCESS_ID)
  missing = [f'--{flag.name}' for flag in given if flag.value is None]
  if len(missing) == len(given):
    return hosts.join() if _DISTRIBUTED.value else contextlib.nullcontext()
  if missing:
    raise UserError(f'several hosts need {", ".join(missing)} too')
  address, number, this = (flag.value for flag in given)
  host, _, port = address.rpartition(':')
  if not (host and port.isdigit() and 0 < int(port) < 2**16):
    raise UserError(f'--coordinator_address={address}: it must be HOST:PORT')
  if not 0 <= this < number:
    raise UserError(
      f'--process_id={this}: with --num_processes={number} it must be 0 to {number - 1}'
    )
  return hosts.join(address, number, this)


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
