"""Puts the layers of a weights file into the layers of a backbone, strictly.

Every weight of the backbone is set exactly once by a weight of its shape, and
every weight of the file is used. As in Keras the order of the layers decides;
names only have to raise no objection, because the published files keep older
ones.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from egan_jax.backbones.graph import Layer, LayerGraph
from egan_jax.errors import UserError

# The order in which a Keras layer lists its weights, under flax's names.
_LEAVES = ('kernel', 'scale', 'bias', 'mean', 'var', 'count')

_KERAS_CLASSES = {
  'convolution': 'conv2d',
  'depthwise_convolution': 'depthwise_conv2d',
  'batch_norm': 'batch_normalization',
}

_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class TargetLayer:
  """A layer that needs weights.

  Attributes:
    name: its name in the backbone.
    kind: its Keras class in snake case.
    leaves: `(collection, leaf)` of its weights, in Keras's order.
    shapes: the shape of each.
  """

  name: str
  kind: str
  leaves: tuple[tuple[str, str], ...]
  shapes: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class SavedLayer:
  """A layer of a weights file, with weights in Keras's order and layout.

  Attributes:
    name: its name in the file.
    weights: its weights.
    leaves: the leaf each weight is for, as far as the file tells; else ''.
    kind: its Keras class in snake case, in files that keep the order of layers
      only within a class; else ''.
  """

  name: str
  weights: tuple[np.ndarray, ...]
  leaves: tuple[str, ...]
  kind: str = ''

  @property
  def shapes(self) -> tuple[tuple[int, ...], ...]:
    """The shape of each weight."""
    return tuple(weight.shape for weight in self.weights)


def targets(layers: tuple[Layer, ...]) -> list[TargetLayer]:
  """The layers of a backbone that have weights, in order."""
  graph = LayerGraph(layers, layers[-1].name)
  images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  shapes = traverse_util.flatten_dict(
    jax.eval_shape(graph.init, jax.random.key(0), images)
  )
  kinds = {layer.name: _KERAS_CLASSES.get(layer.op, layer.op) for layer in layers}
  names = list(kinds)
  # A layer or a leaf this module has never heard of raises here.
  paths = sorted(shapes, key=lambda p: (names.index(p[1]), _LEAVES.index(p[2])))
  result = []
  for name, group in itertools.groupby(paths, key=lambda path: path[1]):
    group = list(group)
    leaves = tuple((collection, leaf) for collection, _, leaf in group)
    leaf_shapes = tuple(shapes[path].shape for path in group)
    result.append(TargetLayer(name, kinds[name], leaves, leaf_shapes))
  return result


def assign(
  wanted: Sequence[TargetLayer], saved: Sequence[SavedLayer], complaint: str
) -> dict[str, Any]:
  """Variables `{collection: {layer: {leaf: float32 array}}}` from saved layers.

  Args:
    wanted: the backbone's layers that have weights.
    saved: the file's layers that have weights.
    complaint: how an error message begins, such as 'x.h5 does not fit VGG16'.

  Raises:
    UserError: the two sides differ; the message shows both.
  """
  pairs = _pair(wanted, saved)
  names = {target.name for target in wanted}
  misfits = [pair for pair in pairs if not _fits(*pair, names)]
  if misfits:
    raise UserError(f'{complaint}: {_difference(misfits)}')
  variables = {}
  for target, layer in pairs:
    for (collection, leaf), claim, weight in zip(
      target.leaves, layer.leaves, layer.weights, strict=True
    ):
      if claim not in ('', leaf):
        raise UserError(
          f'{complaint}: layer {layer.name} has {claim} where {leaf} should be'
        )
      if weight.dtype.kind != 'f' or weight.dtype.itemsize > 4:
        raise UserError(
          f'{complaint}: layer {layer.name} holds {weight.dtype}, not float32'
        )
      variables[collection, target.name, leaf] = np.asarray(weight, np.float32)
  return traverse_util.unflatten_dict(variables)


def _pair(
  wanted: Sequence[TargetLayer], saved: Sequence[SavedLayer]
) -> list[tuple[TargetLayer | None, SavedLayer | None]]:
  """Pairs by order, class by class if the file has classes."""
  if not any(layer.kind for layer in saved):
    return list(itertools.zip_longest(wanted, saved))
  pairs = []
  for kind in dict.fromkeys(layer.kind for layer in (*wanted, *saved)):
    pairs += itertools.zip_longest(
      (target for target in wanted if target.kind == kind),
      (layer for layer in saved if layer.kind == kind),
    )
  return pairs


def _present_name(name: str) -> str:
  """The published files write `conv1/bn` where Keras now says `conv1_bn`."""
  return name.replace('/', '_')


def _fits(
  target: TargetLayer | None, layer: SavedLayer | None, names: set[str]
) -> bool:
  if target is None or layer is None or target.shapes != layer.shapes:
    return False
  name = _present_name(layer.name)
  # A name the backbone does not know proves nothing; another layer's name does.
  return name == target.name or name not in names


def _difference(misfits: list[tuple[TargetLayer | None, SavedLayer | None]]) -> str:
  wanted = [_describe(target) for target, _ in misfits if target]
  saved = [_describe(layer) for _, layer in misfits if layer]
  only_wanted = (Counter(wanted) - Counter(saved)).elements()
  only_saved = (Counter(saved) - Counter(wanted)).elements()
  missing, unexpected = list(only_wanted), list(only_saved)
  if missing or unexpected:
    return (
      f'only in the backbone: {_summarise(missing)}; '
      f'only in the file: {_summarise(unexpected)}'
    )
  return (
    f'the order of layers differs; in the backbone: {_summarise(wanted)}; '
    f'in the file: {_summarise(saved)}'
  )


def _describe(layer: TargetLayer | SavedLayer) -> str:
  shapes = ', '.join('x'.join(map(str, shape)) for shape in layer.shapes)
  return f'{_present_name(layer.name)} [{shapes}]'


def _summarise(descriptions: Iterable[str]) -> str:
  descriptions = list(descriptions)
  if not descriptions:
    return 'nothing'
  shown = ', '.join(descriptions[:_SHOWN])
  more = ', ...' if len(descriptions) > _SHOWN else ''
  plural = 's' if len(descriptions) > 1 else ''
  return f'{len(descriptions)} layer{plural} ({shown}{more})'
