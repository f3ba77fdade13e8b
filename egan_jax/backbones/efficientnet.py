"""EfficientNet (Tan and Le 2019) as `keras.applications` builds it, and its Lite form.

EfficientNet-Lite (github.com/tensorflow/tpu, `efficientnet/lite`) drops the
squeeze-excite parts, uses ReLU6, and scales neither the stem, nor the top, nor
the number of blocks in the first and the last stage. It has no Keras original:
its layers carry the names and the order of Keras's EfficientNet, without the
layers Keras adds to preprocess and to pad.
"""

import math
import string
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from egan_jax.backbones.graph import Layer, LayerTable

_EPSILON = 1e-3
_STEM_FEATURES = 32
_TOP_FEATURES = 1280


# What the published weights were trained with, on images in [0, 1].
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STDDEV = (0.229, 0.224, 0.225)


def _initialize_kernel(key: jax.Array, shape: Any, dtype: Any = jnp.float32):
  """Keras's; a function that has a name, so that a model can be pickled."""
  make = nn.initializers.variance_scaling(2.0, 'fan_out', 'truncated_normal')
  return make(key, shape, dtype)


class _Stage(NamedTuple):
  repeats: int
  size: int
  strides: int
  expand_ratio: int
  features: int


_STAGES = (
  _Stage(repeats=1, size=3, strides=1, expand_ratio=1, features=16),
  _Stage(repeats=2, size=3, strides=2, expand_ratio=6, features=24),
  _Stage(repeats=2, size=5, strides=2, expand_ratio=6, features=40),
  _Stage(repeats=3, size=3, strides=2, expand_ratio=6, features=80),
  _Stage(repeats=3, size=5, strides=1, expand_ratio=6, features=112),
  _Stage(repeats=4, size=5, strides=2, expand_ratio=6, features=192),
  _Stage(repeats=1, size=3, strides=1, expand_ratio=6, features=320),
)


def _scale_features(features: int, width: float) -> int:
  """`features * width` to the nearest multiple of 8, never a tenth below it."""
  scaled = features * width
  rounded = max(8, int(scaled + 4) // 8 * 8)
  return rounded + 8 if rounded < 0.9 * scaled else rounded


class _EfficientNetTable(LayerTable):
  """A table that knows the parts of an EfficientNet, full or `lite`."""

  def __init__(self, *, lite: bool):
    super().__init__()
    self._lite = lite

  def activate(self, name: str) -> None:
    self.add(name, 'relu6' if self._lite else 'swish')

  def pointwise(self, prefix: str, features: int) -> None:
    """A 1x1 convolution and its batch norm."""
    self.add(
      f'{prefix}_conv',
      'convolution',
      features=features,
      size=1,
      kernel_init=_initialize_kernel,
    )
    self.add(f'{prefix}_bn', 'batch_norm', epsilon=_EPSILON)

  def spatial(self, name: str, bn: str, op: str, *, size: int, strides: int, **more):
    """A larger convolution with TensorFlow's 'SAME' padding and its batch norm.

    Keras pads in a layer of its own before a strided one. The result is the
    same, but the layer counts.
    """
    padding = 'SAME'
    if strides == 2 and not self._lite:
      self.add(f'{name}_pad', 'same_padding', size=size, strides=strides)
      padding = 'VALID'
    self.add(
      name,
      op,
      size=size,
      strides=strides,
      padding=padding,
      kernel_init=_initialize_kernel,
      **more,
    )
    self.add(bn, 'batch_norm', epsilon=_EPSILON)

  def squeeze_excite(self, prefix: str, features: int, squeezed: int) -> None:
    block_features = self.last
    self.add(f'{prefix}_squeeze', 'global_average_pool')
    self.add(f'{prefix}_reshape', 'reshape', shape=(1, 1, features))
    for suffix, width, activation in (
      ('reduce', squeezed, 'swish'),
      ('expand', features, 'sigmoid'),
    ):
      self.add(
        f'{prefix}_{suffix}',
        'convolution',
        features=width,
        size=1,
        use_bias=True,
        activation=activation,
        kernel_init=_initialize_kernel,
      )
    self.add(f'{prefix}_excite', 'multiply', block_features, self.last)

  def block(self, name: str, features_in: int, stage: _Stage) -> None:
    """An inverted residual block, `[.., features_in]` to `[.., stage.features]`."""
    block_input = self.last
    expanded = features_in * stage.expand_ratio
    if stage.expand_ratio != 1:
      self.pointwise(f'{name}_expand', expanded)
      self.activate(f'{name}_expand_activation')
    self.spatial(
      f'{name}_dwconv',
      f'{name}_bn',
      'depthwise_convolution',
      size=stage.size,
      strides=stage.strides,
    )
    self.activate(f'{name}_activation')
    if not self._lite:
      self.squeeze_excite(f'{name}_se', expanded, max(1, features_in // 4))
    self.pointwise(f'{name}_project', stage.features)
    if stage.strides == 1 and features_in == stage.features:
      # Stochastic depth, which does nothing in inference: the mode in which a
      # backbone with ImageNet weights always runs. Keras counts the layer.
      branch = self.add(f'{name}_drop', 'identity')
      self.add(f'{name}_add', 'add', branch, block_input)


def _efficientnet(*, width: float, depth: float, lite: bool) -> tuple[Layer, ...]:
  table = _EfficientNetTable(lite=lite)
  end_width = 1.0 if lite else width
  features = _scale_features(_STEM_FEATURES, end_width)
  if not lite:
    table.add('rescaling', 'rescaling', scale=1 / 255)
    table.add('normalization', 'normalization')
  table.spatial(
    'stem_conv', 'stem_bn', 'convolution', size=3, strides=2, features=features
  )
  table.activate('stem_activation')
  for number, stage in enumerate(_STAGES, start=1):
    fixed = lite and number in (1, len(_STAGES))
    repeats = stage.repeats if fixed else math.ceil(stage.repeats * depth)
    stage = stage._replace(features=_scale_features(stage.features, width))
    for letter in string.ascii_lowercase[:repeats]:
      table.block(f'block{number}{letter}', features, stage)
      features = stage.features
      stage = stage._replace(strides=1)
  table.pointwise('top', _scale_features(_TOP_FEATURES, end_width))
  table.activate('top_activation')
  return table.layers


def efficientnet_lite0() -> tuple[Layer, ...]:
  """The layers of EfficientNet-Lite0 without its top; features `[.., 1280]`."""
  return _efficientnet(width=1.0, depth=1.0, lite=True)


def efficientnet_lite1() -> tuple[Layer, ...]:
  """The layers of EfficientNet-Lite1 without its top; features `[.., 1280]`."""
  return _efficientnet(width=1.0, depth=1.1, lite=True)


def efficientnet_lite2() -> tuple[Layer, ...]:
  """The layers of EfficientNet-Lite2 without its top; features `[.., 1280]`."""
  return _efficientnet(width=1.1, depth=1.2, lite=True)


def efficientnet_b2() -> tuple[Layer, ...]:
  """The 339 layers of EfficientNetB2 without its top; features `[.., 1408]`.

  It preprocesses images in [0, 255] itself, by `rescaling` and `normalization`.
  """
  return _efficientnet(width=1.1, depth=1.2, lite=False)


def fold_second_rescaling(variables: dict[str, Any]) -> dict[str, Any]:
  """Gives EfficientNet's ImageNet variables the effect of Keras's second Rescaling.

  The published files hold the standard deviation where `normalization` wants the
  variance (github.com/tensorflow/tensorflow/issues/49930). Keras mends that with
  a further layer, a scaling by 1/sqrt(standard deviation), in the networks it
  builds with ImageNet weights and in no others. Here the factor goes into the
  variance, so that one table of layers serves both.

  Args:
    variables: of the backbone. Only those that normalise by ImageNet's means are
      changed; a network that Keras built without ImageNet weights has no second
      Rescaling.
  """
  statistics = variables['batch_stats']['normalization']
  if not np.allclose(statistics['mean'], _IMAGENET_MEAN, rtol=0, atol=1e-4):
    return variables
  var = statistics['var'] * np.float32(_IMAGENET_STDDEV)
  batch_stats = variables['batch_stats'] | {'normalization': statistics | {'var': var}}
  return variables | {'batch_stats': batch_stats}
