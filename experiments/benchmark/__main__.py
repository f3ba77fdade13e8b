"""Our training against the authors' loop in Keras on TensorFlow, in one run.

  pip install -e '.[benchmark]'
  python -m experiments.benchmark

Both run as processes of this one and take turns, on the same images, after a check
that they compute the same losses from the same weights. About half an hour on 2 idle
cores. The result so far is stored after every part, as JSON and as Markdown.
"""

import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from absl import app, flags, logging

from egan_jax import environment, run_files
from experiments.benchmark import measurements, tables
from experiments.benchmark.processes import Process

RESULT = Path(__file__).parents[1] / 'results' / 'speed.json'
_PARTS = ('epochs', 'compilation', 'trunks', 'scaling')
_BASE = {'num_folds': 5, 'num_minority': 10, 'image_size': 32}
_SCALING = [
  *({**_BASE, 'num_folds': folds} for folds in (1, 2, 5, 10)),
  *({**_BASE, 'num_minority': number} for number in (2, 100, 500)),
  {**_BASE, 'num_folds': 1, 'num_minority': 2},
  *({**_BASE, 'image_size': size} for size in (96, 224)),
]

_WHICH = flags.DEFINE_list('parts', list(_PARTS), 'What to measure.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Rounds of each.', lower_bound=1)
_SIZES = flags.DEFINE_list('sizes', ['32', '96', '224'], 'Sides of the images.')
_XLA_PEER = flags.DEFINE_bool('jit_compile', False, 'Whether XLA compiles the peer.')
_OUTPUT = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')


def main(_):
  logging.set_verbosity(logging.WARNING)
  result = {
    'command': 'python -m experiments.benchmark ' + ' '.join(sys.argv[1:]),
    'environment': environment.describe_environment(),
    'peer': {name: metadata.version(name) for name in ('tensorflow-cpu', 'keras')}
    | {'jit_compile': _XLA_PEER.value},
  }
  output = Path(_OUTPUT.value)

  def keep(**part):
    result.update(part)
    run_files.write_json(output, result)
    run_files.write_text(output.with_suffix('.md'), f'{tables.describe(result)}\n')

  with tempfile.TemporaryDirectory() as folder:
    # Processes of their own: what they leave in memory must not count below.
    with Process(measurements.OURS) as ours, Process(measurements.PEER) as peer:
      keep(losses=measurements.check_losses(ours, peer, Path(folder)))
    with Process(measurements.OURS) as ours, Process(measurements.PEER) as peer:
      _measure_parts(ours, peer, Path(folder), result, keep)
  print(tables.describe(result))


def _measure_parts(
  ours: Process, peer: Process, folder: Path, result: dict, keep: Callable[..., None]
) -> None:
  """What `--parts` asks for, kept one by one."""
  if 'epochs' in _WHICH.value:
    keep(
      epochs=measurements.measure_epochs(
        ours, peer, folder, _REPEATS.value, _XLA_PEER.value
      )
    )
  if 'compilation' in _WHICH.value:
    keep(compilation=measurements.measure_compilation(folder))
  if 'trunks' in _WHICH.value:
    sizes = [int(size) for size in _SIZES.value]
    keep(trunks=measurements.measure_trunks(ours, peer, sizes, _REPEATS.value))
  if 'epochs' in result and 'trunks' in result:
    keep(costs=measurements.split_costs(result['epochs'], result['trunks']))
  if 'scaling' in _WHICH.value:
    measurements.measure_scaling(
      ours,
      peer,
      folder,
      [s for s in _SCALING if str(s['image_size']) in _SIZES.value],
      min(_REPEATS.value, 3),
      _XLA_PEER.value,
      lambda rows: keep(scaling=rows),
    )


if __name__ == '__main__':
  app.run(main)
