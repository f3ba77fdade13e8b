"""DenseNet121 (Huang et al. 2017) as `keras.applications.DenseNet121` builds it."""

from egan_jax.backbones.graph import Layer, LayerTable

_EPSILON = 1.001e-5
_GROWTH_RATE = 32
_BLOCKS = (6, 12, 24, 16)


def _normalise(table: LayerTable, prefix: str, *inputs: str) -> None:
  bn, relu = (f'{prefix}_bn', f'{prefix}_relu') if prefix else ('bn', 'relu')
  table.add(bn, 'batch_norm', *inputs, epsilon=_EPSILON)
  table.add(relu, 'relu')


def _dense_layer(table: LayerTable, name: str) -> None:
  features = table.last
  _normalise(table, f'{name}_0', features)
  table.add(f'{name}_1_conv', 'convolution', features=4 * _GROWTH_RATE, size=1)
  _normalise(table, f'{name}_1')
  new = table.add(
    f'{name}_2_conv',
    'convolution',
    features=_GROWTH_RATE,
    size=3,
    padding='SAME',
  )
  table.add(f'{name}_concat', 'concatenate', features, new)


def densenet121() -> tuple[Layer, ...]:
  """The 427 layers of DenseNet121 without its top; features `[.., 1024]`."""
  table = LayerTable()
  table.add('zero_padding2d', 'zero_padding', padding=((3, 3), (3, 3)))
  table.add('conv1_conv', 'convolution', features=64, size=7, strides=2)
  _normalise(table, 'conv1')
  table.add('zero_padding2d_1', 'zero_padding', padding=((1, 1), (1, 1)))
  table.add('pool1', 'max_pool', size=3, strides=2)
  features = 64
  for stage, num_layers in enumerate(_BLOCKS, start=2):
    for index in range(1, num_layers + 1):
      _dense_layer(table, f'conv{stage}_block{index}')
    features += num_layers * _GROWTH_RATE
    if stage < 5:
      features //= 2
      _normalise(table, f'pool{stage}')
      table.add(f'pool{stage}_conv', 'convolution', features=features, size=1)
      table.add(f'pool{stage}_pool', 'average_pool', size=2)
  _normalise(table, '')
  return table.layers
