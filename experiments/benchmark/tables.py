"""The benchmark's result as Markdown."""

from egan_jax.reporting.tables import to_markdown


def describe(result: dict) -> str:
  """All tables that the result has the numbers for."""
  sections = {
    'epochs': _epochs,
    'compilation': _compilation,
    'costs': _costs,
    'trunks': _trunks,
    'scaling': _scaling,
  }
  return '\n\n'.join(
    table(result[name]) for name, table in sections.items() if name in result
  )


def _epochs(epochs: dict) -> str:
  def row(name, values, unit=''):
    return [name, f'{values["ours"]:.2f}{unit}', f'{values["peer"]:.2f}{unit}']

  gigabytes = {name: peak / 1e9 for name, peak in epochs['peak_memory_bytes'].items()}
  share = {name: 100 * part for name, part in epochs['evaluation_share'].items()}
  table = to_markdown(
    [
      ['5 folds, CIFAR-10 1:500, 32 px', 'ours', 'Keras on TensorFlow'],
      row('epoch with evaluation, median', epochs['seconds'], ' s'),
      row('of which evaluation', share, ' %'),
      row('peak memory', gigabytes, ' GB'),
    ]
  )
  ratios = sorted(epochs['ratios'])
  return (
    f'{table}\n\nRatio: {epochs["ratio"]:.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f} in'
    f' {len(ratios)} rounds).'
  )


def _compilation(compilation: dict) -> str:
  seconds = compilation['seconds']
  return to_markdown(
    [
      ['tracing and compiling, ours', 'seconds'],
      ['without cache', f'{seconds["cold"]:.1f}'],
      ["with JAX's persistent cache", f'{seconds["cached"]:.1f}'],
    ]
  )


def _costs(costs: dict) -> str:
  names = {
    'step': 'a step of 5 folds',
    'trunk_forward': 'frozen layers forward',
    'trunk_backward': 'frozen layers backward',
    'heads_and_the_rest': 'difference (alone the parts take longer)',
    'evaluation_per_step': 'evaluation, per step',
  }
  return to_markdown(
    [
      ['milliseconds', 'ours', 'Keras on TensorFlow'],
      *(
        [text, *(f'{1e3 * costs[who][name]:.0f}' for who in ('ours', 'peer'))]
        for name, text in names.items()
      ),
    ]
  )


def _trunks(rows: list[dict]) -> str:
  return to_markdown(
    [
      ['frozen layers', 'px', 'images', 'ours, ms', 'Keras, ms', 'ratio'],
      *(
        [
          'forward and backward' if row['backward'] else 'forward',
          str(row['image_size']),
          str(row['batch_size']),
          f'{1e3 * row["seconds"]["ours"]:.1f}',
          f'{1e3 * row["seconds"]["peer"]:.1f}'
          + (' (XLA)' if row['peer_compiled_by_xla'] else ''),
          f'{row["ratio"]:.2f}',
        ]
        for row in rows
      ),
    ]
  )


def _scaling(rows: list[dict]) -> str:
  return to_markdown(
    [
      ['folds', 'minority', 'px', 'ours, s/step', 'Keras, s/step', 'ratio'],
      *(
        [
          str(row['num_folds']),
          str(row['num_minority']),
          str(row['image_size']),
          f'{row["seconds_per_step"]["ours"]:.3f}',
          f'{row["seconds_per_step"]["peer"]:.3f}',
          f'{row["ratio"]:.1f}',
        ]
        for row in rows
      ),
    ]
  )
