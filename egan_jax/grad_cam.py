"""Where in an image a score comes from: Grad-CAM, as a pure function.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
localization", 2017. The feature maps are those a method pools: the last ones of the
backbones or, for a trained head, what the head makes of them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from egan_jax.backbones.graph import LayerGraph
from egan_jax.backbones.trunk import Trunk
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.models.pooled_head import PooledHead
from egan_jax.scorers import BOUNDARY, Scorer

Maps = tuple[jax.Array, ...]


def map_score(
  front: Trunk | FeatureExtractor, scorer: Scorer, image: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The score of an image, and what every part of it contributes.

  A channel weighs as much as the gradient of the score by it, summed over the map;
  the weighted channels are added up, resized to the image and, where there are several
  maps, added. After average pooling the mean of the contributions is the score of a
  method that is linear in the features, but for its offset; of any other it is that
  of its tangent.

  Args:
    front: from images to what the scorer reads.
    scorer: from there to scores.
    image: float `[H, W, 3]` in [0, 1].

  Returns:
    The score, float32 `[]`, and contributions, float32 `[H, W]`: positive where they
    speak for the majority, negative where for the minority. A decision's Grad-CAM is
    the part of them that has its sign.
  """
  maps, score = _cut_at_maps(front, scorer, image[None])
  value, gradients = jax.value_and_grad(lambda maps: score(maps)[0])(maps)
  contributions = sum(
    _resize(jnp.einsum('hwc,c->hw', values[0], gradient[0].sum(axis=(0, 1))), image)
    for values, gradient in zip(maps, gradients, strict=True)
  )
  return value, contributions


def _cut_at_maps(
  front: Trunk | FeatureExtractor, scorer: Scorer, images: jax.Array
) -> tuple[Maps, Callable[[Maps], jax.Array]]:
  """Feature maps `[B, h, w, C]` before pooling, and the rest, from there to scores."""
  if scorer.reads == BOUNDARY:
    head = scorer.head
    name = head.graph.output
    variables = {
      collection: scorer.arrays[collection].get('backbone', {})
      for collection in ('params', 'batch_stats')
    }
    maps = (head.graph.apply(variables, front(images)),)
    # A head without layers only pools.
    rest = scorer.replace(head=PooledHead(LayerGraph((), name), head.pooling))
    return maps, lambda maps: rest({name: maps[0]})

  return front.maps(images), lambda maps: scorer(front.pool(maps))


def _resize(contributions: jax.Array, image: jax.Array) -> jax.Array:
  return jax.image.resize(contributions, image.shape[:2], 'bilinear')
