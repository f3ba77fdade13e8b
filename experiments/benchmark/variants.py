"""What each way of computing the frozen layers is worth on this machine.

  python -m experiments.benchmark.variants

Every variant is a process of its own that runs DenseNet121's trunk, in turns with the
package as it is; a variant that takes longer than that shows what its choice is worth.
"""

import dataclasses
import itertools
import json
import statistics
from collections import Counter
from pathlib import Path

import flax.linen as nn
import jax
from absl import app, flags, logging
from flax.core import FrozenDict

from egan_jax import environment, run_files
from egan_jax import state as egan_state
from egan_jax.backbones import convolution, max_pooling
from egan_jax.backbones.graph import LayerGraph
from egan_jax.backbones.trunk import Trunk
from egan_jax.reporting.tables import to_markdown
from experiments.benchmark import jax_worker
from experiments.benchmark.processes import Process, serve

RESULT = Path(__file__).parents[1] / 'results' / 'speed_variants.json'
_MODULE = 'experiments.benchmark.variants'
_SIZES = {32: 50, 224: 4}  # images by side


def _use_lax_for(is_meant):
  """Leaves some convolutions to XLA."""
  convolve = convolution.convolve

  def patched(x, kernel, strides, padding):
    if is_meant(x, kernel):
      return convolution._lax_convolution(x, kernel, strides, padding)
    return convolve(x, kernel, strides, padding)

  convolution.convolve = patched


def _use_lax_for_1x1():
  _use_lax_for(lambda x, kernel: kernel.shape[:2] == (1, 1))


def _use_lax_for_small_maps():
  _use_lax_for(lambda x, kernel: kernel.shape[0] > 1 and x.shape[1] * x.shape[2] <= 4)


def _use_xla_derivatives():
  _use_lax_for(lambda x, kernel: kernel.shape[0] > 1 and x.shape[1] * x.shape[2] > 4)
  max_pooling.max_pool = lambda x, size, strides, padding: nn.max_pool(
    x, (size, size), (strides, strides), padding
  )


def _use_nchw():
  """Convolutions that are not products with channels first, transposed around."""

  def patched(x, kernel, strides, padding):
    y = jax.lax.conv_general_dilated(
      x.transpose(0, 3, 1, 2),
      kernel,
      (strides, strides),
      padding,
      dimension_numbers=('NCHW', 'HWIO', 'NCHW'),
    )
    return y.transpose(0, 2, 3, 1)

  convolution._spatial_convolution = patched


def _fold_batch_norms():
  """Into the convolutions that nothing else reads, as a kernel and a bias."""
  make_player = egan_state.make_player

  def patched(*args, **kwargs):
    player = make_player(*args, **kwargs)
    return dataclasses.replace(player, trunk=_fold(player.trunk))

  egan_state.make_player = patched


def _fold(trunk: Trunk) -> Trunk:
  readers = Counter(name for layer in trunk.graph.layers for name in layer.inputs)
  layers = {layer.name: layer for layer in trunk.graph.layers}
  params = dict(trunk.variables['params'])
  for norm in trunk.graph.layers:
    source = layers[norm.inputs[0]] if norm.op == 'batch_norm' else None
    if source is None or source.op != 'convolution' or readers[source.name] > 1:
      continue
    statistics_of_norm = trunk.variables['batch_stats'][norm.name]
    weights = params.pop(norm.name)
    variance = statistics_of_norm['var'] + norm.attributes['epsilon']
    scale = weights['scale'] * variance**-0.5
    old = params[source.name]
    bias = old.get('bias', 0) - statistics_of_norm['mean']
    params[source.name] = {
      'kernel': old['kernel'] * scale,
      'bias': weights['bias'] + bias * scale,
    }
    layers[source.name] = dataclasses.replace(
      source, attributes=FrozenDict({**source.attributes, 'use_bias': True})
    )
    layers[norm.name] = dataclasses.replace(norm, op='identity', attributes={})
  graph = LayerGraph(tuple(layers.values()), trunk.graph.output)
  return trunk.replace(variables={**trunk.variables, 'params': params}, graph=graph)


_CODE = {
  'as it is': lambda: None,
  '1x1 convolutions by XLA': _use_lax_for_1x1,
  'convolutions of 1x1 and 2x2 maps by XLA': _use_lax_for_small_maps,
  "XLA's derivatives of convolutions and max pooling": _use_xla_derivatives,
  'channels first': _use_nchw,
  'batch norms folded into convolutions': _fold_batch_norms,
}
_FLAGS = (
  '--xla_cpu_prefer_vector_width=512',
  '--xla_cpu_enable_fast_math=true',
  '--xla_cpu_use_onednn=true',
  '--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_RUNTIME',
  '--xla_cpu_use_xnnpack=false',
  '--xla_cpu_multi_thread_eigen=false',
)


def measure(name: str, size: int, repeats: int) -> dict:
  """Seconds of one variant and of the package as it is, in turns."""
  variables = {'XLA_FLAGS': name} if name in _FLAGS else {}
  worker = 'as it is' if name in _FLAGS else name
  result = {'variant': name, 'image_size': size, 'batch_size': _SIZES[size]}
  with (
    Process(_MODULE, arguments=['--worker=as it is']) as base,
    Process(_MODULE, variables, arguments=[f'--worker={worker}']) as other,
  ):
    for what, backward in (('forward', False), ('forward and backward', True)):
      request = {
        'image_size': size,
        'batch_size': _SIZES[size],
        'backward': backward,
      }
      seconds = {'as it is': [], 'variant': []}
      for _ in range(repeats):
        for key, process in (('as it is', base), ('variant', other)):
          seconds[key] += process.ask('trunk', **request)['seconds']
      medians = {key: statistics.median(times) for key, times in seconds.items()}
      result[what] = {
        'seconds': medians,
        'variant_takes': medians['variant'] / medians['as it is'],
      }
  return result


def describe(rows: list[dict]) -> str:
  """How long each variant takes, the package as it is being 1."""
  passes = ('forward', 'forward and backward')
  lines = [['variant', 'px', *passes]]
  for row in rows:
    times = [f'{row[which]["variant_takes"]:.2f}' for which in passes]
    lines.append([row['variant'], str(row['image_size']), *times])
  return to_markdown(lines)


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  repeats = flags.DEFINE_integer('repeats', 7, 'Runs of each.', lower_bound=1)
  worker = flags.DEFINE_string('worker', None, 'Be the process of this variant.')
  output = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')
  resume = flags.DEFINE_bool('resume', False, 'Keep what the output holds already.')

  def main(_):
    logging.set_verbosity(logging.WARNING)
    if worker.value:
      _CODE[worker.value]()
      serve(jax_worker.Worker())
      return
    rows = json.loads(Path(output.value).read_text())['rows'] if resume.value else []
    done = {(row['image_size'], row['variant']) for row in rows}
    for size, name in itertools.product(_SIZES, (*_CODE, *_FLAGS)):
      if (size, name) in done:
        continue
      rows.append(measure(name, size, repeats.value))
      result = {
        'command': 'python -m experiments.benchmark.variants',
        'environment': environment.describe_environment(),
        'rows': rows,
      }
      run_files.write_json(output.value, result)
    print(describe(rows))

  app.run(main)


if __name__ == '__main__':
  run_command()
