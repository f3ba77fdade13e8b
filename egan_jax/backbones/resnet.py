"""ResNet101 (He et al. 2015) as `keras.applications.ResNet101` builds it."""

from egan_jax.backbones.graph import Layer, LayerTable

_EPSILON = 1.001e-5
# Blocks and bottleneck features of each stage.
_STAGES = ((3, 64), (4, 128), (23, 256), (3, 512))


def _convolve(table: LayerTable, name: str, *inputs: str, **attributes) -> str:
  return table.add(name, 'convolution', *inputs, use_bias=True, **attributes)


def _normalise(table: LayerTable, name: str, *inputs: str) -> str:
  return table.add(name, 'batch_norm', *inputs, epsilon=_EPSILON)


def _block(
  table: LayerTable, name: str, features: int, strides: int, project: bool
) -> None:
  """A bottleneck block; `project` gives its shortcut a convolution.

  Keras sorts the layers by their distance from the output, so those of the
  shortcut stand between those of the third convolution.
  """
  block_input = table.last
  _convolve(table, f'{name}_1_conv', features=features, size=1, strides=strides)
  _normalise(table, f'{name}_1_bn')
  table.add(f'{name}_1_relu', 'relu')
  _convolve(table, f'{name}_2_conv', features=features, size=3, padding='SAME')
  _normalise(table, f'{name}_2_bn')
  branch = table.add(f'{name}_2_relu', 'relu')
  shortcut = block_input
  if project:
    shortcut = _convolve(
      table,
      f'{name}_0_conv',
      block_input,
      features=4 * features,
      size=1,
      strides=strides,
    )
  branch = _convolve(table, f'{name}_3_conv', branch, features=4 * features, size=1)
  if project:
    shortcut = _normalise(table, f'{name}_0_bn', shortcut)
  branch = _normalise(table, f'{name}_3_bn', branch)
  table.add(f'{name}_add', 'add', shortcut, branch)
  table.add(f'{name}_out', 'relu')


def resnet101() -> tuple[Layer, ...]:
  """The 345 layers of ResNet101 without its top; features `[.., 2048]`."""
  table = LayerTable()
  table.add('conv1_pad', 'zero_padding', padding=((3, 3), (3, 3)))
  _convolve(table, 'conv1_conv', features=64, size=7, strides=2)
  _normalise(table, 'conv1_bn')
  table.add('conv1_relu', 'relu')
  table.add('pool1_pad', 'zero_padding', padding=((1, 1), (1, 1)))
  table.add('pool1_pool', 'max_pool', size=3, strides=2)
  for stage, (blocks, features) in enumerate(_STAGES, start=2):
    for index in range(1, blocks + 1):
      first = index == 1
      _block(
        table,
        f'conv{stage}_block{index}',
        features,
        strides=2 if first and stage > 2 else 1,
        project=first,
      )
  return table.layers
