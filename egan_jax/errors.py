"""The one exception that means "the user can mend this"."""


class UserError(Exception):
  """Bad input. Its message is one line: what is wrong and what to do.

  `command_line.run` prints it and exits with status 1. Anything else is a
  programming error and keeps its traceback.
  """
