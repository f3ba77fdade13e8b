"""Several hosts that play one run: they meet, agree, and fail together.

Every host runs the same program (`jax.distributed`) and computes its own games. The
first one alone reads and writes the workdir; the others are told what they need.
A host is a process: a machine may run several. With one, all of this does nothing.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from egan_jax.errors import UserError

_JOIN_SECONDS = 300
# How long after a failed collective its cause, a closed connection, may show.
_GRACE_SECONDS = 2


def is_first() -> bool:
  """Whether this is the host that reads and writes the workdir."""
  return jax.process_index() == 0


def exchange(text: str) -> list[str]:
  """The texts of all hosts, in their order."""
  if jax.process_count() == 1:
    return [text]
  data = np.frombuffer(text.encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(data)))
  padded = np.pad(data, (0, max(1, lengths.max()) - len(data)))
  rows = multihost_utils.process_allgather(padded)
  return [bytes(r[:n]).decode() for r, n in zip(rows, lengths, strict=True)]


def on_first(function: Callable[[], Any]) -> Any:
  """What a function returns on the first host, on all of them.

  Args:
    function: called on the first host only; returns what JSON can hold.

  Raises:
    UserError: on all hosts, if the function raises one.
  """
  if jax.process_count() == 1:
    return function()
  result, message = None, None
  if is_first():
    try:
      result = function()
    except UserError as error:
      message = str(error)
  result, message = json.loads(exchange(json.dumps([result, message]))[0])
  if message is not None:
    raise UserError(message)
  return result


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Raises on all hosts the `UserError` that any of them runs into inside.

  Inside, hosts must not wait for each other.
  """
  if jax.process_count() == 1:
    yield
    return
  problem = ''
  try:
    yield
  except UserError as error:
    problem = str(error)
  # In JSON, as names of files may be of any bytes.
  for host, message in enumerate(map(json.loads, exchange(json.dumps(problem)))):
    if message:
      raise UserError(f'host {host}: {message}')


def check_same(what: str, value: Any) -> None:
  """Checks that a value, of what JSON can hold and arrays, is the same on all hosts.

  Raises:
    UserError: on all hosts; says `what` differs and where.
  """
  text = json.dumps(value, sort_keys=True, default=lambda array: array.tolist())
  digests = exchange(hashlib.sha256(text.encode()).hexdigest())
  for host, digest in enumerate(digests):
    if digest != digests[0]:
      raise UserError(
        f'host {host} has not the same {what} as host 0: start all hosts with the'
        ' same command on the same data'
      )


def broadcast(tree: Any) -> Any:
  """NumPy arrays of the first host, on all; elsewhere only their shapes count."""
  return multihost_utils.broadcast_one_to_all(tree)


@contextlib.contextmanager
def join(
  address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> Iterator[None]:
  """Runs what is inside as one of several hosts, which end together.

  Must come before anything that JAX computes. When a host dies, the others end at
  once with one line and exit status 1.

  Args:
    address: HOST:PORT on which the first host listens. Without any of the three,
      JAX asks the cluster: SLURM, Open MPI, a TPU pod.
    num_processes: how many hosts there are.
    process_id: which one this is, from 0.

  Raises:
    UserError: they cannot meet, or what is inside raised it on all hosts.
  """
  _initialize(address, num_processes, process_id)
  watch = _Watch(address.rpartition(':')[0] if address else None)
  try:
    yield
  except UserError:
    watch.stop()
    jax.distributed.shutdown()
    raise
  except BaseException:
    # Leave at once: an orderly shutdown would wait for the others, who wait for us.
    time.sleep(_GRACE_SECONDS)
    traceback.print_exc()
    _exit()
  watch.stop()
  jax.distributed.shutdown()


def enter(stage: str) -> None:
  """Notes what the run is doing, such as 'in epoch 7', for a message about it."""
  _Watch.stage = stage


class _Watch:
  """Connections to the first host, one from each other; one that breaks ends both.

  JAX would notice a lost host when a collective fails or heartbeats stay away, and
  then abort. The system closes a dead process's connections at once.
  """

  stage = 'before training'

  def __init__(self, address: str | None):
    """Connects in the background; hosts that cannot are left to JAX.

    Args:
      address: the first host's; its own name by default.
    """
    self._stopped = False
    self._lock = threading.Lock()
    listener, port, token = None, None, secrets.token_hex()
    if is_first():
      listener = connection.Listener(
        ('', 0), backlog=jax.process_count(), authkey=token.encode()
      )
      port = listener.address[1]
    address = address or socket.gethostname()
    address, port, token = json.loads(exchange(json.dumps([address, port, token]))[0])
    if listener:
      self._start(self._accept, listener)
    else:
      self._start(self._connect, (address, port), token.encode())

  def stop(self) -> None:
    """From now on others may leave."""
    self._stopped = True

  def _start(self, target: Callable, *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()

  def _accept(self, listener: connection.Listener) -> None:
    while True:
      # Whoever does not know the token is not one of us.
      with contextlib.suppress(OSError, EOFError, multiprocessing.AuthenticationError):
        self._start(self._wait, listener.accept())

  def _connect(self, address: tuple[str, int], token: bytes) -> None:
    try:
      to_first = connection.Client(address, authkey=token)
    except (OSError, EOFError, multiprocessing.AuthenticationError) as error:
      logging.warning('no connection to %s:%d: %s', *address, error)
    else:
      self._wait(to_first)

  def _wait(self, other: connection.Connection) -> None:
    """Nothing is ever sent: what can be read is the end."""
    with contextlib.suppress(OSError, EOFError):
      other.recv_bytes()
    with self._lock:
      if not self._stopped:
        _exit(
          f'error: a host was lost {self.stage}: start the same command again on all'
          ' hosts to resume'
        )


def _initialize(
  address: str | None, num_processes: int | None, process_id: int | None
) -> None:
  if process_id == 0:
    port = int(address.rpartition(':')[2])
    try:
      socket.create_server(('', port)).close()
    except OSError as error:
      reason = os.strerror(error.errno)
      raise UserError(f'port {port} of this host cannot be used: {reason}') from error
  # It would catch SIGTERM, and leave a host that a scheduler wants to end running.
  jax.config.update('jax_enable_preemption_service', False)
  # JAX would abort the process.
  timer = threading.Timer(
    _JOIN_SECONDS, _exit, [f'error: not all hosts came within {_JOIN_SECONDS} seconds']
  )
  timer.daemon = True
  timer.start()
  try:
    jax.distributed.initialize(
      address, num_processes, process_id, initialization_timeout=2 * _JOIN_SECONDS
    )
  except ValueError as error:
    raise UserError(
      f'no cluster tells this host of the others ({error}): give --coordinator_address,'
      ' --num_processes and --process_id'
    ) from error
  finally:
    timer.cancel()


def _exit(message: str = '') -> None:
  """Ends the process without the handlers that would wait for other hosts."""
  with contextlib.suppress(OSError):  # whoever read it may be gone
    sys.stdout.flush()
    sys.stderr.flush()
  if message:
    # In one piece, as JAX may be writing too. A progress bar leaves the cursor behind it.
    os.write(2, ('\n' * sys.stderr.isatty() + message + '\n').encode())
  os._exit(1)
