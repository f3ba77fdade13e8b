"""Two processes that take turns: requests and answers as lines of JSON."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Process:
  """A worker module running beside us; it ends with the `with` block."""

  def __init__(
    self,
    module: str,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
  ):
    """Starts it.

    Args:
      module: run as `python -m`.
      environment: variables it gets beside ours.
      arguments: of the command line.
    """
    self._module = module
    self._process = subprocess.Popen(
      [sys.executable, '-m', module, *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={**os.environ, **(environment or {})},
      text=True,
    )

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._process.stdin.close()
    self._process.wait()

  def ask(self, command: str, **arguments: Any) -> dict:
    """Sends a request and waits for its answer.

    Raises:
      RuntimeError: the worker ended; its traceback went to stderr.
    """
    request = json.dumps({'command': command, **arguments})
    print(request, file=self._process.stdin, flush=True)
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(f'{self._module} ended at {request}')
    return json.loads(line)


def serve(worker: Any) -> None:
  """Answers requests by a worker's methods until there are no more.

  Whatever else the process would print goes to stderr.
  """
  answers = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(2, 1)
  for line in sys.stdin:
    request = json.loads(line)
    answer = getattr(worker, request.pop('command'))(**request)
    answer['peak_memory_bytes'] = measure_peak_memory()
    print(json.dumps(answer), file=answers)


def measure_peak_memory() -> int:
  """Peak resident bytes of this process so far (Linux)."""
  # Not getrusage: on Linux it includes the peak of the process that started this one.
  status = Path('/proc/self/status').read_text()
  return int(re.search(r'VmHWM:\s*(\d+) kB', status)[1]) * 1024
