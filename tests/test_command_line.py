"""What the commands of the package share."""

import signal
import time
from types import SimpleNamespace

import pytest
from absl import flags

from egan_jax import command_line


def test_help_of_a_command_lists_its_paths():
  defined = command_line.define_path('path_of_this_test', 'For nothing.')
  listed = flags.FLAGS.get_key_flags_for_module(__name__)
  assert defined.name in {flag.name for flag in listed}


def test_an_interrupt_that_python_drops_comes_again():
  """As one that arrives in a callback of the garbage collector, of which JAX has some."""
  dropped = SimpleNamespace(exc_type=KeyboardInterrupt)
  # A process that a shell started in the background ignores interrupts.
  previous = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    with pytest.raises(KeyboardInterrupt):
      command_line._deliver_interrupt(dropped)
      time.sleep(10)
  finally:
    signal.signal(signal.SIGINT, previous)
