"""What the benchmark measures, each as a function of the two processes."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.benchmark.processes import Process

OURS, PEER = 'experiments.benchmark.jax_worker', 'experiments.benchmark.keras_reference'
_TOLERANCE = 1e-3
# Two steps an epoch, where only the time of a step is wanted.
_SHORT = {'majority': 256, 'test': 64}


def make_images(
  path: Path, num_folds: int, num_minority: int, num_majority: int, num_test: int
) -> str:
  """Writes random 32 px images; times do not depend on what is on them."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return rng.integers(0, 256, (*shape, 32, 32, 3), np.uint8)

  np.savez(
    path,
    minority=draw(num_folds, num_minority),
    majority=draw(num_majority),
    test=draw(num_test),
  )
  return str(path)


def check_losses(ours: Process, peer: Process, folder: Path) -> dict:
  """Both play three steps from the same weights on the same images.

  Raises:
    ValueError: a loss differs by more than 1e-3 of its size.
  """
  images = make_images(folder / 'parity.npz', 1, 10, 512, 8)
  weights = str(folder / 'weights.npz')
  batches = np.random.default_rng(1).permutation(512)[:384].reshape(3, 128).tolist()
  ours.ask('setup', images=images, weights_output=weights, dropout_rate=0.0)
  peer.ask('setup', images=images, weights=weights, dropout_rate=0.0)
  ours_losses, peer_losses = (
    process.ask('losses', batches=batches)['losses'] for process in (ours, peer)
  )
  difference = max(
    abs(step[name] - expected[name]) / abs(expected[name])
    for step, expected in zip(ours_losses, peer_losses, strict=True)
    for name in expected
  )
  if not difference <= _TOLERANCE:
    raise ValueError(
      f'the losses differ by {difference:.1e}: {ours_losses} here,'
      f' {peer_losses} by the peer'
    )
  return {'ours': ours_losses, 'peer': peer_losses, 'largest_difference': difference}


def measure_epochs(
  ours: Process, peer: Process, folder: Path, repeats: int, jit_compile: bool
) -> dict:
  """CIFAR-10 1:500: an epoch and an evaluation of five folds, in turns."""
  num_folds = 5
  images = make_images(folder / 'epochs.npz', num_folds, 10, 5000, 2000)
  setups = {
    'ours': ours.ask('setup', images=images),
    'peer': peer.ask('setup', images=images, jit_compile=jit_compile),
  }

  def run_ours():
    answers = {what: ours.ask(what) for what in ('epoch', 'evaluate')}
    return {what: answer['seconds'] for what, answer in answers.items()}, answers

  def run_peer():
    seconds = {'epoch': 0.0, 'evaluate': 0.0}
    for fold in range(num_folds):
      answers = {
        'epoch': peer.ask('epoch', fold=fold),
        'evaluate': peer.ask('evaluate'),
      }
      for what, answer in answers.items():
        seconds[what] += answer['seconds']
    return seconds, answers

  first = {'ours': run_ours()[0], 'peer': run_peer()[0]}  # they compile
  rounds = {'ours': [], 'peer': []}
  for _ in range(repeats):
    for name, run in (('ours', run_ours), ('peer', run_peer)):
      seconds, answers = run()
      rounds[name].append(seconds)
      setups[name]['peak_memory_bytes'] = answers['evaluate']['peak_memory_bytes']
  totals = {
    name: [sum(seconds.values()) for seconds in values]
    for name, values in rounds.items()
  }
  ratios = [p / o for o, p in zip(totals['ours'], totals['peer'], strict=True)]
  return {
    'num_folds': num_folds,
    'rounds': rounds,
    'first_round': first,
    'seconds': {name: statistics.median(values) for name, values in totals.items()},
    'ratio': statistics.median(ratios),
    'ratios': ratios,
    'evaluation_share': {
      name: statistics.median(
        seconds['evaluate'] / sum(seconds.values()) for seconds in values
      )
      for name, values in rounds.items()
    },
    'peak_memory_bytes': {
      name: setup['peak_memory_bytes'] for name, setup in setups.items()
    },
    'setup_seconds': {name: setup['seconds'] for name, setup in setups.items()},
    'activation_seconds': setups['ours']['activation_seconds'],
  }


def measure_compilation(folder: Path) -> dict:
  """Tracing and compiling the epoch and the evaluation, in processes of their own."""
  images = make_images(folder / 'compile.npz', 5, 10, 5000, 2000)
  seconds = {}
  with tempfile.TemporaryDirectory() as cache:
    for which in ('cold', 'cached'):
      variables = {
        'JAX_COMPILATION_CACHE_DIR': cache,
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.5',
      }
      with Process(OURS, variables) as process:
        process.ask('setup', images=images)
        seconds[which] = process.ask('compile')['seconds']
  return {'seconds': seconds}


def measure_trunks(
  ours: Process, peer: Process, sizes: list[int], repeats: int
) -> list[dict]:
  """The frozen layers forward, and forward and backward to the images, in turns.

  The peer runs them as a graph and compiled by XLA; the faster one counts.
  """
  outputs = ours.ask('boundary')['names']
  rows = []
  for size in sizes:
    for batch_size in _batch_sizes(size):
      for backward in (False, True):
        arguments = {
          'image_size': size,
          'batch_size': batch_size,
          'backward': backward,
        }
        seconds = {'ours': [], 'graph': [], 'xla': []}
        for _ in range(repeats):
          seconds['ours'] += ours.ask('trunk', **arguments)['seconds']
          for mode in ('graph', 'xla'):
            answer = peer.ask(
              'trunk', outputs=outputs, jit_compile=mode == 'xla', **arguments
            )
            seconds[mode] += answer['seconds']
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        fastest = min(medians['graph'], medians['xla'])
        rows.append(
          {
            **arguments,
            'seconds': {'ours': medians['ours'], 'peer': fastest},
            'peer_compiled_by_xla': medians['xla'] == fastest,
            'ratio': fastest / medians['ours'],
            'all_seconds': seconds,
          }
        )
  return rows


def _batch_sizes(image_size: int) -> tuple[int, ...]:
  """One fold's generated images, five folds', a majority batch."""
  return (10, 50, 128) if image_size == 32 else (10,)


def split_costs(epochs: dict, trunks: list[dict]) -> dict:
  """Where a step of all folds spends its time, in seconds."""

  def trunk(name, batch_size, backward):
    (row,) = [
      row
      for row in trunks
      if (row['image_size'], row['batch_size'], row['backward'])
      == (32, batch_size, backward)
    ]
    return row['seconds'][name]

  num_folds, num_steps = epochs['num_folds'], -(-5000 // 128)
  steps = {
    name: statistics.median(seconds['epoch'] for seconds in rounds) / num_steps
    for name, rounds in epochs['rounds'].items()
  }
  forward = {
    'ours': trunk('ours', 50, False),
    # The majority's, the minority's in the generator, the generated images'.
    'peer': num_folds * (trunk('peer', 128, False) + 2 * trunk('peer', 10, False)),
  }
  backward = {
    'ours': trunk('ours', 50, True) - trunk('ours', 50, False),
    'peer': num_folds * (trunk('peer', 10, True) - trunk('peer', 10, False)),
  }
  return {
    name: {
      'step': steps[name],
      'trunk_forward': forward[name],
      'trunk_backward': backward[name],
      'heads_and_the_rest': steps[name] - forward[name] - backward[name],
      'evaluation_per_step': statistics.median(
        seconds['evaluate'] for seconds in epochs['rounds'][name]
      )
      / num_steps,
    }
    for name in ('ours', 'peer')
  }


def measure_scaling(
  ours: Process,
  peer: Process,
  folder: Path,
  settings: list[dict],
  repeats: int,
  jit_compile: bool,
  keep: Callable[[list[dict]], None],
) -> list[dict]:
  """Seconds of a step by folds, minority images and image size.

  The peer plays one fold; its time is multiplied by their number, as it plays them
  one after the other.

  Args:
    ours: our process.
    peer: the peer's.
    folder: for the images.
    settings: dicts of `num_folds`, `num_minority` and `image_size`.
    repeats: epochs of two steps of each.
    jit_compile: as of the peer's setup.
    keep: called with the rows so far after each.
  """
  rows = []
  for setting in settings:
    num_folds, image_size = setting['num_folds'], setting['image_size']
    images = make_images(
      folder / 'scaling.npz',
      num_folds,
      setting['num_minority'],
      _SHORT['majority'],
      _SHORT['test'],
    )
    ours.ask('setup', images=images, image_size=image_size)
    peer.ask('setup', images=images, image_size=image_size, jit_compile=jit_compile)
    ours.ask('epoch'), peer.ask('epoch')  # they compile
    seconds = {'ours': [], 'peer': []}
    for _ in range(repeats):
      seconds['ours'].append(ours.ask('epoch')['seconds'] / 2)
      seconds['peer'].append(num_folds * peer.ask('epoch')['seconds'] / 2)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows.append(
      {
        **setting,
        'seconds_per_step': medians,
        'ratio': medians['peer'] / medians['ours'],
        'all_seconds_per_step': seconds,
      }
    )
    keep(rows)
  return rows
