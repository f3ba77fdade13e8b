"""What the commands of the package share: flags in, one line for bad input out."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable

from absl import app, flags, logging

from egan_jax import compilation_cache
from egan_jax.errors import UserError

# What is defined here belongs to the command that asks for it, and to its --help.
flags.disclaim_key_flags()


class _PathParser(flags.ArgumentParser):
  """A shell leaves the `~` of `--flag=~/x` to the command."""

  def parse(self, argument: str) -> str:
    return os.path.expanduser(argument)


def define_path(name: str, help_text: str) -> flags.FlagHolder:
  """A flag for a file or folder, None by default."""
  return flags.DEFINE(_PathParser(), name, None, help_text)


def parse_flags(arguments: list[str]) -> list[str]:
  """Parses flags; returns what is left.

  Raises:
    UserError: an unknown flag or a value that cannot be.
  """
  try:
    return flags.FLAGS(arguments)
  except flags.Error as error:
    raise UserError(str(error).splitlines()[0]) from error


def _deliver_interrupt(unraisable: 'sys.UnraisableHookArgs') -> None:
  """Sends an interrupt again that came where Python drops it, as in JAX's collector."""
  if unraisable.exc_type is not KeyboardInterrupt:
    sys.__unraisablehook__(unraisable)
    return
  again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
  again.daemon = True
  again.start()


def run(
  main: Callable[..., None],
  required: Iterable[flags.FlagHolder],
  parse_flags: Callable[[list[str]], list[str]] = parse_flags,
  takes_arguments: bool = False,
) -> None:
  """Parses flags and runs a command; bad input ends in one line and exit status 1.

  An interrupt (Ctrl-C) ends in one word and exit status 130. Where nobody reads the
  output any more, as after `| head`, the command ends in silence with status 141.

  Args:
    main: the command. Reads its flags itself.
    required: flags it cannot do without.
    parse_flags: for commands whose flags can be wrong in more ways.
    takes_arguments: whether `main` takes the list of what is not a flag; if not, there
      must be nothing else.
  """

  def check_and_run(arguments: list[str]) -> None:
    if len(arguments) > 1 and not takes_arguments:
      raise UserError(f'unexpected argument {arguments[1]!r}')
    for flag in required:
      if not flag.value:
        raise UserError(f'--{flag.name} is missing')
    if not flags.FLAGS['verbosity'].present:
      logging.set_verbosity(logging.WARNING)  # JAX and orbax have much to say at INFO
    compilation_cache.enable()
    sys.stdout.reconfigure(errors='backslashreplace')  # file names need not be UTF-8
    # Of a readable image; it names no file.
    warnings.filterwarnings('ignore', 'Corrupt EXIF data', UserWarning)
    if takes_arguments:
      main(arguments[1:])
    else:
      main()
    sys.stdout.flush()

  sys.unraisablehook = _deliver_interrupt
  try:
    app.run(check_and_run, flags_parser=parse_flags)
  except UserError as error:
    # File names may hold line breaks.
    sys.exit(f'error: {" ".join(str(error).splitlines())}')
  except KeyboardInterrupt:
    print('\ninterrupted', file=sys.stderr)
    sys.exit(128 + signal.SIGINT)
  except BrokenPipeError:
    # What is still in the buffer would raise once more at the end of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
