"""A backbone as a list of layers in Keras order, and the module that runs it.

The list is what freezing, porting and speed have in common: "the top five
layers" is `layers[-5:]`, weights port layer by layer under Keras's names, and
cutting the list at an index gives a frozen trunk and a trainable head.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.core import FrozenDict

from egan_jax.backbones import ops
from egan_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layer:
  """One row of a backbone's table.

  Attributes:
    name: Keras's name of the layer; also the name of its parameters.
    op: what it does, a key of `ops.OPS`.
    inputs: names of the layers it reads.
    attributes: the op's arguments (hashable, so that modules stay hashable).
  """

  name: str
  op: str
  inputs: tuple[str, ...] = ()
  attributes: Mapping[str, Any] = dataclasses.field(default_factory=FrozenDict)


class LayerTable:
  """Collects layers in the order they are added.

  A table reads like the Keras functional code it mirrors.
  """

  def __init__(self):
    self._layers = [Layer('input_layer', 'input')]

  @property
  def last(self) -> str:
    """The name of the layer added last."""
    return self._layers[-1].name

  @property
  def layers(self) -> tuple[Layer, ...]:
    """The layers added so far."""
    return tuple(self._layers)

  def add(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
    """Adds a layer that reads `inputs`, or else the last one; returns its name."""
    if any(layer.name == name for layer in self._layers):
      raise ValueError(f'two layers are called {name!r}')
    self._layers.append(Layer(name, op, inputs or (self.last,), FrozenDict(attributes)))
    return name


class LayerGraph(nn.Module):
  """Runs a list of layers; submodules carry the layers' names.

  Attributes:
    layers: the layers to run, in order. Tensors they read that no layer of the
      list produces must be given by the caller.
    output: the name of the tensor to return, or a tuple of names to return as a
      dict.
  """

  layers: tuple[Layer, ...]
  output: str | tuple[str, ...]

  @nn.compact
  def __call__(
    self, inputs: jax.Array | Mapping[str, jax.Array], train: bool = False
  ) -> jax.Array | dict[str, jax.Array]:
    """Runs the layers.

    Args:
      inputs: float images `[B, H, W, C]` for a graph that starts at its input
        layer, or the tensors it starts from, keyed by layer name.
      train: only matters to layers made for training from scratch (dropout and
        batch statistics of the small network). Backbones with ImageNet weights
        always run in inference mode (paper section 3.2).

    Returns:
      The tensor called `output`, or a dict of them.

    Raises:
      UserError: the images are too small for one of the layers.
    """
    if isinstance(inputs, Mapping):
      tensors = dict(inputs)
    else:
      tensors = {self.layers[0].name: inputs}
    for layer in self.layers:
      if layer.op != 'input':
        tensors[layer.name] = ops.OPS[layer.op](
          *(tensors[name] for name in layer.inputs),
          name=layer.name,
          train=train,
          **layer.attributes,
        )
        if 0 in tensors[layer.name].shape[1:]:
          raise UserError(
            f'layer {layer.name} leaves nothing of images so small: choose a larger'
            ' image_size'
          )
    if isinstance(self.output, str):
      return tensors[self.output]
    return {name: tensors[name] for name in self.output}


def boundary_names(layers: tuple[Layer, ...], cut: int) -> tuple[str, ...]:
  """Names of the tensors that cross a cut before `layers[cut]`.

  They are what the head `layers[cut:]` reads and the trunk `layers[:cut]`
  makes, in layer order: two for DenseNet121 cut before its last five layers.
  A head without layers reads the trunk's last tensor; a cut at 0 or 1 leaves
  the images themselves.
  """
  if not 0 <= cut <= len(layers):
    raise ValueError(f'cut {cut} is outside 0..{len(layers)}')
  if cut <= 1:
    return (layers[0].name,)
  needed = {name for layer in layers[cut:] for name in layer.inputs}
  if cut == len(layers):
    needed = {layers[-1].name}
  return tuple(layer.name for layer in layers[:cut] if layer.name in needed)


def split(layers: tuple[Layer, ...], cut: int) -> tuple[LayerGraph, LayerGraph]:
  """The trunk `layers[:cut]` and the head `layers[cut:]` of a backbone.

  The trunk takes images `[B, H, W, C]` and returns the boundary activations, a
  dict of arrays `[B, h, w, c]` keyed by layer name; the head takes that dict
  and returns the backbone's last feature map.
  """
  trunk = LayerGraph(layers[: max(cut, 1)], boundary_names(layers, cut))
  head = LayerGraph(layers[max(cut, 1) :], layers[-1].name)
  return trunk, head
