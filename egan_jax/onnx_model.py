"""Traceable functions of images as ONNX models, and ONNX models as functions.

It takes the extra `onnx`: jax2onnx to write and onnxruntime to run.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from egan_jax.backbones import ops
from egan_jax.backbones.convolution import Convolution, DepthwiseConvolution
from egan_jax.errors import UserError

INPUT = 'images'
OUTPUTS = ('score', 'is_minority')


def serialize(
  function: Callable[[jax.Array], tuple[jax.Array, jax.Array]], image_size: int
) -> bytes:
  """An ONNX model of a traceable function from images to `OUTPUTS`.

  Args:
    function: of `INPUT`, uint8 `[B, S, S, 3]`, to two arrays `[B]`.
    image_size: S. The number of images is left open.

  Raises:
    UserError: the extra is missing.
  """
  jax2onnx = _import_optional('jax2onnx')
  shape = ('batch', image_size, image_size, 3)
  with _one_operator_each():
    model = jax2onnx.to_onnx(
      function,
      [jax.ShapeDtypeStruct(shape, jnp.uint8)],
      model_name='egan_jax',
      input_names=[INPUT],
      output_names=OUTPUTS,
      return_mode='proto',
    )
  # Shapes of intermediate results, some with axes in another order than the results
  # have; onnxruntime finds them itself and would warn.
  del model.graph.value_info[:]
  return model.SerializeToString()


def load(data: bytes) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """What `serialize` made, run by onnxruntime on the CPU.

  Raises:
    UserError: the extra is missing.
  """
  onnxruntime = _import_optional('onnxruntime')
  session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
  return lambda images: tuple(session.run(OUTPUTS, {INPUT: images}))


def _import_optional(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(f"ONNX needs {name}: pip install 'egan_jax[onnx]'") from error


@contextlib.contextmanager
def _one_operator_each() -> Iterator[None]:
  """Traces convolutions and pooling as what ONNX has a single operator for.

  Their forms that are fast in XLA on CPU are sums and maxima of shifted slices, and
  would become hundreds of operators.
  """
  plain = {'max_pool': _max_pool, 'average_pool': _average_pool}
  fast = {name: ops.OPS[name] for name in plain}
  ops.OPS.update(plain)
  try:
    with nn.intercept_methods(_convolve):
      yield
  finally:
    ops.OPS.update(fast)


def _convolve(next_function, args, kwargs, context):
  """An interceptor of Flax methods that replaces those of convolutions."""
  module = context.module
  if context.method_name != '__call__' or not isinstance(
    module, Convolution | DepthwiseConvolution
  ):
    return next_function(*args, **kwargs)
  (x,) = args
  params = module.variables['params']
  kernel, groups = params['kernel'], 1
  if isinstance(module, DepthwiseConvolution):
    kernel, groups = kernel.swapaxes(2, 3), x.shape[-1]
  y = jax.lax.conv_general_dilated(
    x,
    kernel,
    (module.strides, module.strides),
    module.padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
  return y + params['bias'] if 'bias' in params else y


# Ops as those of `ops.OPS`; jax2onnx knows these functions by keyword only.


def _max_pool(x, *, name, train, size, strides, padding='VALID'):
  del name, train
  return nn.max_pool(
    x, window_shape=(size, size), strides=(strides, strides), padding=padding
  )


def _average_pool(x, *, name, train, size):
  del name, train
  return nn.avg_pool(
    x, window_shape=(size, size), strides=(size, size), padding='VALID'
  )
