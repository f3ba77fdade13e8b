"""What the commands of the package share."""

from absl import flags

from egan_jax import command_line


def test_help_of_a_command_lists_its_paths():
  defined = command_line.define_path('path_of_this_test', 'For nothing.')
  listed = flags.FLAGS.get_key_flags_for_module(__name__)
  assert defined.name in {flag.name for flag in listed}
