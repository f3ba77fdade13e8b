"""The layers after the cut and the pooling: what a score is made from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from egan_jax.backbones.graph import LayerGraph
from egan_jax.models.pooling import pool


@dataclasses.dataclass(frozen=True)
class PooledHead:
  """A discriminator without its dropout and last unit.

  Hashable, so that it can be a static argument.

  Attributes:
    graph: the layers after the cut.
    pooling: 'average' or 'flatten'.
  """

  graph: LayerGraph
  pooling: str

  def __call__(
    self, variables: Mapping[str, Any], boundary: Mapping[str, jax.Array]
  ) -> jax.Array:
    """Features `[B, C]` of boundary activations `[B, h, w, c]` by layer name.

    Args:
      variables: `params` and `batch_stats` of a `Discriminator`; without layers
        after the cut, or without statistics, they need no 'backbone'.
      boundary: what crosses the cut.
    """
    of_backbone = {
      collection: values.get('backbone', {}) for collection, values in variables.items()
    }
    return pool(self.graph.apply(of_backbone, boundary), self.pooling)
