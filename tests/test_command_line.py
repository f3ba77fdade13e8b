"""What the commands of the package share."""

import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_nobody_reads_the_output(unbuffered):
  """As of `python -m egan_jax.compare ... | head`, once it has its lines."""
  reader, writer = os.pipe()
  os.close(reader)
  program = 'from egan_jax import command_line; command_line.run(lambda: print(1), [])'
  try:
    ended = subprocess.run(
      [sys.executable, '-c', program],
      stdout=writer,
      stderr=subprocess.PIPE,
      env=os.environ | {'PYTHONUNBUFFERED': unbuffered},
    )
  finally:
    os.close(writer)
  assert (ended.returncode, ended.stderr) == (141, b'')
