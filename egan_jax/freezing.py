"""Which layers train: from Keras layer order to an optimiser.

Fine-tuning "the top five layers" (paper section 3.2) is `layers[-5:]` of the
backbone's table. Everything outside the backbone always trains.
"""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from egan_jax.backbones.graph import Layer
from egan_jax.errors import UserError

TRAINABLE = 'trainable'
FROZEN = 'frozen'


def first_trainable_layer(num_layers: int, fine_tune_layers: int) -> int:
  """Index of the first layer that trains: where the network can be cut.

  Raises:
    UserError: `fine_tune_layers` is not between 0 and the number of layers.
  """
  if not 0 <= fine_tune_layers <= num_layers:
    raise UserError(
      f'fine_tune_layers={fine_tune_layers} but the backbone has {num_layers} layers'
    )
  return num_layers - fine_tune_layers


def label_parameters(
  params: Mapping[str, Any], layers: tuple[Layer, ...], fine_tune_layers: int
) -> dict[str, Any]:
  """Labels every parameter of a network TRAINABLE or FROZEN.

  Args:
    params: a network's parameters; those of its backbone, or of the part of it
      after the cut, stand under 'backbone' by layer name.
    layers: the whole backbone in Keras order.
    fine_tune_layers: how many of the last layers train.

  Returns:
    The same structure with a label at each leaf.

  Raises:
    ValueError: a layer of `params['backbone']` is not in the table.
  """
  first = first_trainable_layer(len(layers), fine_tune_layers)
  label_of = {
    layer.name: TRAINABLE if index >= first else FROZEN
    for index, layer in enumerate(layers)
  }
  unknown = set(params.get('backbone', {})) - set(label_of)
  if unknown:
    raise ValueError(f'parameters of layers that do not exist: {sorted(unknown)}')

  def label(path, _):
    if path[0].key == 'backbone':
      return label_of[path[1].key]
    return TRAINABLE

  return jax.tree_util.tree_map_with_path(label, params)


def optimizer(learning_rate: float, labels: Any) -> optax.GradientTransformation:
  """Adam for trainable leaves; frozen ones get no update and no state.

  Labels are a tree as of `label_parameters`, or a function that makes it of parameters.

  Keras's Adam (epsilon 1e-7, the rest as in optax); Keras adds epsilon before
  the bias correction of the second moment and optax after, which matters where
  gradients are below about 1e-5 in the first steps and 1e-6 later.
  """
  return optax.partition(
    {
      TRAINABLE: optax.adam(learning_rate, eps=1e-7),
      FROZEN: optax.set_to_zero(),
    },
    labels,
  )
