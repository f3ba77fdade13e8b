"""Commands in processes of their own, without the seconds that imports take."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Imports once, then runs each command in a fork, as `python -m MODULE` would.
_SERVER = """
import json, os, runpy, sys, traceback, warnings
from egan_jax import compare, explain, export, features, predict, train
warnings.filterwarnings('ignore', 'os.fork')
warnings.filterwarnings('ignore', '.* found in sys.modules')
for line in sys.stdin:
  request = json.loads(line)
  child = os.fork()
  if not child:
    for number, name in ((0, os.devnull), (1, 'stdout'), (2, 'stderr')):
      flags = os.O_RDWR | os.O_CREAT
      os.dup2(os.open(request.get(name, name), flags), number)
    sys.stdin = open(0)
    os.environ.update(request['environment'])
    os.chdir(request['folder'])
    sys.argv = [request['module'], *request['arguments']]
    status = 0
    try:
      runpy.run_module(request['module'], run_name='__main__', alter_sys=True)
    except BaseException as error:
      # As Python would, without the second it takes to tidy up.
      status = getattr(error, 'code', 1) or 0
      if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
      elif not isinstance(error, SystemExit):
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)
  status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  print(status, flush=True)
"""


class Result(NamedTuple):
  """What a command came to."""

  status: int
  stdout: str
  stderr: str


@contextlib.contextmanager
def serve() -> Iterator[Callable[..., Result]]:
  """Yields a function that runs a command; see the fixture `run_command`."""
  with (
    tempfile.TemporaryDirectory() as outputs,
    subprocess.Popen(
      [sys.executable, '-c', _SERVER],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    ) as server,
  ):

    def run(module, *arguments, folder='.', environment=None):
      files = {name: str(Path(outputs, name)) for name in ('stdout', 'stderr')}
      for path in files.values():
        Path(path).write_text('')
      request = {
        'module': module,
        'arguments': list(map(str, arguments)),
        'environment': environment or {},
        'folder': str(folder),
        **files,
      }
      print(json.dumps(request), file=server.stdin, flush=True)
      status = int(server.stdout.readline())
      return Result(status, *(Path(path).read_text() for path in files.values()))

    yield run
    server.stdin.close()
