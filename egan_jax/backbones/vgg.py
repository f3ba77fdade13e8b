"""VGG16 and VGG19 (Simonyan and Zisserman 2014) as `keras.applications` builds them."""

from egan_jax.backbones.graph import Layer, LayerTable

_FEATURES = (64, 128, 256, 512, 512)


def _vgg(repeats: tuple[int, ...]) -> tuple[Layer, ...]:
  table = LayerTable()
  for block, (features, convolutions) in enumerate(
    zip(_FEATURES, repeats, strict=True), start=1
  ):
    for index in range(1, convolutions + 1):
      table.add(
        f'block{block}_conv{index}',
        'convolution',
        features=features,
        size=3,
        padding='SAME',
        use_bias=True,
        activation='relu',
      )
    table.add(f'block{block}_pool', 'max_pool', size=2, strides=2)
  return table.layers


def vgg16() -> tuple[Layer, ...]:
  """The 19 layers of VGG16 without its top; features `[.., 512]`."""
  return _vgg((2, 2, 3, 3, 3))


def vgg19() -> tuple[Layer, ...]:
  """The 22 layers of VGG19 without its top; features `[.., 512]`."""
  return _vgg((2, 2, 4, 4, 4))
