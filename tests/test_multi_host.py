"""Two hosts: processes of this machine that meet on the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from egan_jax import hosts, main
from egan_jax.errors import UserError
from tests import small_runs

QUICKSTART = Path(__file__).parents[1] / 'configs' / 'quickstart.py'
NUM_FOLDS, NUM_EPOCHS = 3, 6
CHANGES = {**small_runs.GAME, 'num_folds': NUM_FOLDS, 'num_epochs': NUM_EPOCHS}
LOST = (
  'error: a host was lost {}: start the same command again on all hosts to resume\n'
)

# Imports once, then runs each host in a fork: `python -m egan_jax.main` with the tiny
# network and without figures. The environment says in which stage a host dies and of
# what, what goes wrong with its data, and how long it waits for the others.
_SERVER = f"""
import json, os, signal, sys, time, warnings
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from egan_jax import backbones, hosts, main
from egan_jax.data import sources
from egan_jax.errors import UserError
from egan_jax.reporting import report
from tests import small_runs

tiny = small_runs.make_tiny_backbone()
get, enter, load = backbones.get, hosts.enter, sources.load

def enter_or_die(stage):
  enter(stage)
  Path(os.environ['STAGES'], f'{{stage}} {{os.getpid()}}').touch()
  if stage == os.environ.get('DIES'):
    # Or else the other host may still name the stage before.
    while len([*Path(os.environ['STAGES']).glob(f'{{stage}} *')]) < 2:
      time.sleep(0.01)
    os.kill(os.getpid(), signal.Signals[os.environ['OF']])

def load_or_fail(*arguments, **options):
  if 'DATA_ERROR' in os.environ:
    raise {{'user': UserError, 'other': KeyError}}[os.environ['DATA_ERROR']]('no data')
  return load(*arguments, **options)

backbones.get = lambda name: tiny if name == 'Tiny' else get(name)
hosts.enter, sources.load = enter_or_die, load_or_fail
report.draw_figures = lambda *arguments: None
warnings.filterwarnings('ignore', 'os.fork')
for line in sys.stdin:
  children = []
  for request in json.loads(line):
    children.append(os.fork())
    if not children[-1]:
      signal.alarm(120)  # the bound within which a host must have ended
      for number, path in ((0, os.devnull), (1, request['stdout']), (2, request['stderr'])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
      os.environ.update(request['environment'])
      hosts._JOIN_SECONDS = int(os.environ.get('WAITS', 300))
      sys.argv = ['main.py', *request['arguments']]
      main.run()
  statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
  print(json.dumps(statuses), flush=True)
"""


class Result(NamedTuple):
  status: int
  stdout: str
  stderr: str


def _find_free_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Runs the command on hosts of these numbers at once; returns their results."""
  outputs = tmp_path_factory.mktemp('outputs')
  environment = {
    **{k: v for k, v in os.environ.items() if 'proxy' not in k.lower()},
  }
  with subprocess.Popen(
    [sys.executable, '-c', _SERVER],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  ) as server:

    def run(
      workdir, num_processes=2, numbers=None, arguments=((), ()), environments=({}, {})
    ):
      address = f'127.0.0.1:{_find_free_port()}'
      stages, requests = tempfile.mkdtemp(dir=outputs), []
      for number in range(num_processes) if numbers is None else numbers:
        files = {name: str(outputs / f'{number}.{name}') for name in Result._fields[1:]}
        for path in files.values():
          Path(path).write_text('')
        command = [
          f'--config={QUICKSTART}',
          f'--workdir={workdir}',
          *(f'--config.{field}={value}' for field, value in CHANGES.items()),
          f'--coordinator_address={address}',
          f'--num_processes={num_processes}',
          f'--process_id={number}',
          *arguments[number],
        ]
        environment = {'STAGES': stages, **environments[number]}
        requests.append({'arguments': command, 'environment': environment, **files})
      print(json.dumps(requests), file=server.stdin, flush=True)
      statuses = json.loads(server.stdout.readline())
      return [
        Result(
          status,
          *(Path(request[name]).read_text() for name in Result._fields[1:]),
        )
        for status, request in zip(statuses, requests, strict=True)
      ]

    yield run
    server.stdin.close()


@pytest.fixture(scope='module')
def uninterrupted(start, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('uninterrupted')
  return workdir, start(workdir)


def test_first_host_reports(uninterrupted):
  workdir, (first, second) = uninterrupted
  assert (first.status, first.stderr) == (0, '')
  assert (second.status, second.stderr) == (0, '')
  for part in ('paper (oracle)', 'honest', str(workdir / 'summary.json')):
    assert part in first.stdout
    assert part not in second.stdout
  summary = json.loads((workdir / 'summary.json').read_text())
  assert len(summary['environment']['devices']) == 2
  assert len(list((workdir / 'tensorboard').iterdir())) == 1


def test_same_game_as_on_one_host(start, uninterrupted, tmp_path):
  (alone,) = start(tmp_path, num_processes=1)
  assert (alone.status, alone.stderr) == (0, '')
  ours, theirs = (
    small_runs.read_records(uninterrupted[0]),
    small_runs.read_records(tmp_path),
  )
  assert len(ours) == len(theirs) == NUM_FOLDS * NUM_EPOCHS
  for a, b in zip(ours, theirs, strict=True):
    assert a == pytest.approx(b, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_lost_hosts_end_the_run_and_it_resumes(start, uninterrupted, tmp_path):
  dying = {'DIES': 'in epoch 4', 'OF': 'SIGTERM'}
  first, second = start(tmp_path, environments=({}, dying))
  assert second.status == -signal.SIGTERM
  assert (first.status, first.stderr) == (1, LOST.format('in epoch 4'))

  dying = {'DIES': 'in epoch 6', 'OF': 'SIGKILL'}
  first, second = start(tmp_path, environments=(dying, {}))
  assert first.status == -signal.SIGKILL
  assert second.status == 1
  # JAX, for which the first host is special, may write a line or two as well.
  assert LOST.format('in epoch 6') in second.stderr

  assert [result.status for result in start(tmp_path)] == [0, 0]
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['resumed_from_epoch'] > 0
  for name in ('metrics.jsonl', 'draws.json', 'config.json'):
    expected = (uninterrupted[0] / name).read_bytes()
    assert (tmp_path / name).read_bytes() == expected
  ours, theirs = map(small_runs.read_scores, (tmp_path, uninterrupted[0]))
  np.testing.assert_array_equal(ours['scores'], theirs['scores'])


def test_what_is_wrong_on_one_host_ends_both(start, tmp_path):
  for result in start(tmp_path, environments=({}, {'DATA_ERROR': 'user'})):
    assert (result.status, result.stderr) == (1, 'error: host 1: no data\n')
  assert list(tmp_path.iterdir()) == []


def test_crash_of_one_host_ends_both(start, tmp_path):
  first, second = start(tmp_path, environments=({}, {'DATA_ERROR': 'other'}))
  assert (second.status, first.status) == (1, 1)
  assert second.stderr.startswith('Traceback')
  assert second.stderr.endswith("KeyError: 'no data'\n")
  assert first.stderr == LOST.format('before training')


def test_different_commands_end_both(start, tmp_path):
  for result in start(tmp_path, arguments=((), ('--config.seed=1',))):
    assert result.status == 1
    assert result.stderr.startswith('error: host 1 has not the same config as host 0')
    assert result.stderr.count('\n') == 1
  assert list(tmp_path.iterdir()) == []


def test_workdir_of_something_else_ends_both(start, tmp_path):
  (tmp_path / 'thesis.tex').write_text('other work')
  for result in start(tmp_path):
    assert result.status == 1
    assert result.stderr.startswith(f'error: workdir {tmp_path} holds other files')
    assert result.stderr.count('\n') == 1


def test_host_that_stays_alone(start, tmp_path):
  (result,) = start(tmp_path, numbers=(1,), environments=({}, {'WAITS': '1'}))
  assert result.status == 1
  assert result.stderr == 'error: not all hosts came within 1 seconds\n'


def test_port_that_is_taken():
  with socket.create_server(('', 0)) as server:
    port = server.getsockname()[1]
    with pytest.raises(UserError, match=f'port {port} of this host'):
      with hosts.join(f'127.0.0.1:{port}', 2, 0):
        pass


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'process_id': 0}, 'need --coordinator_address, --num_processes too'),
    ({'coordinator_address': 'a:1'}, 'need --num_processes, --process_id too'),
    (
      {'coordinator_address': 'a', 'num_processes': 2, 'process_id': 0},
      '--coordinator_address=a: it must be HOST:PORT',
    ),
    (
      {'coordinator_address': 'a:70000', 'num_processes': 2, 'process_id': 0},
      '--coordinator_address=a:70000: it must be HOST:PORT',
    ),
    (
      {'coordinator_address': 'a:1', 'num_processes': 2, 'process_id': 2},
      '--process_id=2: .* must be 0 to 1',
    ),
  ],
)
def test_flags_that_make_no_sense(given, message):
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  with flagsaver.flagsaver(**given), pytest.raises(UserError, match=message):
    main._join_hosts()
