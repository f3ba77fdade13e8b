"""How long a call takes."""

import time
from collections.abc import Callable


def time_call(function: Callable[[], object]) -> float:
  """Seconds of the call on the clock."""
  start = time.perf_counter()
  function()
  return time.perf_counter() - start
