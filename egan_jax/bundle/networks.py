"""The networks of a model as plain JSON and named tensors, and back.

JSON says which layers of which registered backbone there are. They are rebuilt from
that alone, with the shape and dtype of every variable, and only then filled.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from egan_jax import backbones, scorers
from egan_jax.backbones import graph, preprocessing
from egan_jax.backbones.graph import LayerGraph
from egan_jax.backbones.trunk import Trunk, cast_kernels
from egan_jax.bundle.files import Misfit, field
from egan_jax.errors import UserError
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.models.pooled_head import PooledHead
from egan_jax.models.pooling import pool
from egan_jax.scorers import Scorer

Front = Trunk | FeatureExtractor
Description = dict[str, Any]

_HEAD = 'scorer/params/backbone', 'scorer/batch_stats'


def describe(names: Sequence[str], front: Front, scorer: Scorer) -> list[Description]:
  """The backbones of a front, and of the head that follows it, as plain JSON.

  Args:
    names: of the backbones.
    front: what images pass first.
    scorer: what they pass next.

  Raises:
    ValueError: `rebuild` would make other layers of it.
  """
  if isinstance(front, Trunk):
    trunks, poolings, mirrored = (front,), (scorer.head.pooling,), False
  else:
    trunks, poolings, mirrored = front.trunks, front.poolings, front.mirrored
  descriptions = [
    {
      'backbone': name,
      'num_layers': len(trunk.graph.layers),
      'outputs': list(trunk.graph.output),
      'pooling': pooling,
      'preprocessing': trunk.preprocessing,
      'image_size': trunk.image_size,
      'kernel_dtype': _kernel_dtype(trunk.variables),
      'mirrored': mirrored,
    }
    for name, trunk, pooling in zip(names, trunks, poolings, strict=True)
  ]
  for trunk, description in zip(trunks, descriptions, strict=True):
    if _rebuild_graph(description) != trunk.graph:
      raise ValueError(f'the layers are not those of {description["backbone"]}')
  if scorer.head is not None and _rebuild_head(descriptions[0]) != scorer.head:
    raise ValueError(f'the head is not what follows the cut of {names[0]}')
  return descriptions


def to_tensors(front: Front, scorer: Scorer) -> dict[str, np.ndarray]:
  """All arrays, under names such as 'front/0/params/conv1/kernel'."""
  trunks = (front,) if isinstance(front, Trunk) else front.trunks
  fitted = _flatten('scorer', scorer.arrays)
  tensors = {name: np.asarray(leaf, np.float32) for name, leaf in fitted.items()}
  for i, trunk in enumerate(trunks):
    leaves = _flatten(f'front/{i}', trunk.variables)
    tensors.update((name, np.asarray(leaf)) for name, leaf in leaves.items())
  return tensors


def rebuild(
  descriptions: list[Description],
  kind: str,
  note: str,
  tensors: Mapping[str, np.ndarray],
) -> tuple[Front, Scorer, int]:
  """The front and the scorer of which `describe` and `to_tensors` were made.

  Every layer is traced once, which is what takes the time.

  Args:
    descriptions: of the backbones.
    kind: of the scorer.
    note: of the scorer.
    tensors: by name.

  Returns:
    Both, and the number C of pooled features.

  Raises:
    Misfit: there are no such layers; or a tensor is missing, one too many, or has not
      the shape and dtype that the layers expect.
  """
  if kind not in scorers.KINDS:
    raise Misfit(f'there is no kind of scorer called {kind!r}')
  scorer = Scorer({}, kind, note=note)
  of_head = scorer.reads == scorers.BOUNDARY
  if not descriptions or (of_head and len(descriptions) > 1):
    raise Misfit(f'{len(descriptions)} backbones are no front of a {kind}')
  trunks, maps = zip(*map(_rebuild_trunk, descriptions), strict=True)
  poolings = tuple(description['pooling'] for description in descriptions)
  mirrored = _rebuild_mirrored(descriptions, of_head)
  expected = {}
  for i, trunk in enumerate(trunks):
    expected.update(_flatten(f'front/{i}', trunk.variables))
  if of_head:
    scorer = scorer.replace(head=_rebuild_head(descriptions[0]))
    (inputs,) = maps
    *maps, variables = _trace(scorer.head.graph, inputs)
    of_backbone = {name: {'backbone': values} for name, values in variables.items()}
    expected.update(_flatten('scorer', of_backbone))
  num_features = sum(map(_count_features, maps, poolings))
  if not of_head:
    inputs = jax.ShapeDtypeStruct((1, num_features), jnp.float32)
  # What else a scorer has depends on the images it was fitted to.
  expected.update(
    (name, jax.ShapeDtypeStruct(tensor.shape, jnp.float32))
    for name, tensor in tensors.items()
    if name.startswith('scorer/') and not name.startswith(_HEAD)
  )
  _check_tensors(tensors, expected)

  tensors = jax.device_put(dict(tensors))
  trunks = tuple(
    trunk.replace(variables=_unflatten(f'front/{i}', tensors))
    for i, trunk in enumerate(trunks)
  )
  # One name may be the start of another.
  arrays = _try(lambda: _unflatten('scorer', tensors))
  if of_head:  # either may have no layers
    arrays = {'params': {}, 'batch_stats': {}, **arrays}
  scorer = scorer.replace(arrays=arrays)
  _check_scores(scorer, inputs)
  front = trunks[0] if of_head else FeatureExtractor(trunks, poolings, mirrored)
  return front, scorer, num_features


def _rebuild_graph(description: Description) -> LayerGraph:
  layers = backbones.get(description['backbone']).layers
  layers = layers[: description['num_layers']]
  return LayerGraph(layers, tuple(description['outputs']))


def _rebuild_head(description: Description) -> PooledHead:
  layers = backbones.get(description['backbone']).layers
  _, head = graph.split(layers, description['num_layers'])
  return PooledHead(head, description['pooling'])


def _rebuild_mirrored(descriptions: list[Description], of_head: bool) -> bool:
  """The same for all backbones."""
  found = [field(description, 'mirrored', bool) for description in descriptions]
  if found not in ([False] * len(found), [True] * len(found)) or (of_head and found[0]):
    raise Misfit(f'mirrored is {found}')
  return found[0]


def _rebuild_trunk(description: Description) -> tuple[Trunk, dict[str, Any]]:
  """A trunk, and what it makes of an image, with shapes in place of arrays.

  The description is checked here.
  """
  name = field(description, 'backbone', str)
  try:
    layers = backbones.get(name).layers
  except UserError as error:
    raise Misfit(str(error)) from error
  num_layers = field(description, 'num_layers', int)
  outputs = field(description, 'outputs', list)
  if not 1 <= num_layers <= len(layers):
    raise Misfit(f'{name} has {len(layers)} layers and not {num_layers}')
  known = [layer.name for layer in layers[:num_layers]]
  if not outputs or not all(name in known for name in outputs):
    raise Misfit(f'{name} has no layers {outputs}')
  for key, choices in (
    ('pooling', ('average', 'flatten')),
    ('preprocessing', preprocessing.IMAGENET_MODES),
    ('kernel_dtype', ('float32', 'bfloat16')),
  ):
    if field(description, key, str) not in choices:
      raise Misfit(f'{key} is {description[key]!r}')
  image_size = field(description, 'image_size', int)
  if image_size < 1:
    raise Misfit(f'image_size is {image_size}')
  layer_graph = _rebuild_graph(description)
  images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
  maps, variables = _trace(layer_graph, images)
  cast = functools.partial(cast_kernels, dtype=description['kernel_dtype'])
  trunk = Trunk(
    variables=jax.eval_shape(cast, variables),
    graph=layer_graph,
    preprocessing=description['preprocessing'],
    image_size=image_size,
  )
  return trunk, maps


def _trace(layer_graph: LayerGraph, inputs: Any) -> tuple[Any, dict[str, Any]]:
  """Shapes of what layers make of inputs, and of their variables."""
  key = jax.random.key(0)
  return _try(lambda: jax.eval_shape(layer_graph.init_with_output, key, inputs))


def _count_features(maps: Any, pooling: str) -> int:
  pooled = jax.eval_shape(
    lambda maps: [pool(each, pooling) for each in jax.tree.leaves(maps)], maps
  )
  return sum(each.shape[1] for each in pooled)


def _check_tensors(
  tensors: Mapping[str, np.ndarray], expected: Mapping[str, jax.ShapeDtypeStruct]
) -> None:
  for what, names in (
    ('it lacks', {*expected} - {*tensors}),
    ('it has the unknown', {*tensors} - {*expected}),
  ):
    if names:
      raise Misfit(f'{what} {min(names)} and {len(names) - 1} more tensors')
  for name, shape in expected.items():
    tensor = tensors[name]
    if tensor.shape != shape.shape or tensor.dtype != shape.dtype:
      raise Misfit(
        f'{name} is {tensor.dtype} {list(tensor.shape)} and not {shape.dtype}'
        f' {list(shape.shape)}'
      )


def _check_scores(scorer: Scorer, inputs: Any) -> None:
  """Traces the scorer, which finds the arrays whose shapes only it knows."""
  for number in (2, 3):
    batch = jax.tree.map(
      lambda a, n=number: jax.ShapeDtypeStruct((n, *a.shape[1:]), a.dtype), inputs
    )
    scores = _try(lambda x=batch: jax.eval_shape(lambda s, x: s(x), scorer, x))
    if scores.shape != (number,) or scores.dtype != jnp.float32:
      raise Misfit(f'scores are {scores.dtype} {list(scores.shape)}')


def _try(function: Callable[[], Any]) -> Any:
  """Tracing raises almost anything where layers, arrays and shapes do not go together."""
  try:
    return function()
  except Exception as error:
    message = str(error).strip() or type(error).__name__
    raise Misfit(message.splitlines()[0]) from error


def _kernel_dtype(variables: Any) -> str:
  dtypes = {
    str(leaf.dtype)
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    if path[-1].key == 'kernel'
  }
  (dtype,) = dtypes or {'float32'}
  return dtype


def _flatten(prefix: str, tree: Any) -> dict[str, Any]:
  leaves = traverse_util.flatten_dict(tree, sep='/')
  return {f'{prefix}/{name}': leaf for name, leaf in leaves.items()}


def _unflatten(prefix: str, leaves: Mapping[str, Any]) -> dict[str, Any]:
  prefix = f'{prefix}/'
  return traverse_util.unflatten_dict(
    {
      name.removeprefix(prefix): v
      for name, v in leaves.items()
      if name.startswith(prefix)
    },
    sep='/',
  )
