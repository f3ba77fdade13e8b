"""The two networks without pre-training of the paper's Fig. 5, up to the last map.

They are trained from scratch and whole, so their batch norm and dropout behave
as Keras's do in training.
"""

from egan_jax.backbones.graph import Layer, LayerTable


def small_conv_encoder() -> tuple[Layer, ...]:
  """The authors' encoder; features `[B, H/4, W/4, 32]`.

  [Conv 32, batch norm, LeakyReLU, max pool] twice, with Keras's default slope
  of 0.3 and default epsilon of 1e-3.
  """
  table = LayerTable()
  for name in ('block1', 'block2'):
    table.add(
      f'{name}_conv',
      'convolution',
      features=32,
      size=3,
      padding='SAME',
      use_bias=True,
    )
    table.add(f'{name}_bn', 'batch_norm', epsilon=1e-3, from_scratch=True)
    table.add(f'{name}_activation', 'leaky_relu', negative_slope=0.3)
    table.add(f'{name}_pool', 'max_pool', size=2, strides=2)
  return table.layers


def small_conv_discriminator() -> tuple[Layer, ...]:
  """The authors' discriminator; features `[B, ceil(H/4), ceil(W/4), 128]`.

  [Conv 5x5 with stride 2, LeakyReLU 0.2, dropout 0.4] with 64 and 128 features.
  """
  table = LayerTable()
  for name, features in (('block1', 64), ('block2', 128)):
    table.add(
      f'{name}_conv',
      'convolution',
      features=features,
      size=5,
      strides=2,
      padding='SAME',
      use_bias=True,
    )
    table.add(f'{name}_activation', 'leaky_relu', negative_slope=0.2)
    table.add(f'{name}_drop', 'dropout', rate=0.4)
  return table.layers
