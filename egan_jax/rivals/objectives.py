"""What the rivals that train the discriminator's head train it for."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from egan_jax import scorers, steps
from egan_jax.models.pooled_head import PooledHead
from egan_jax.rivals import batches, losses
from egan_jax.state import NetworkState

Context = dict[str, jax.Array]

_BATCH_SIZE = 512  # only bounds memory


def pool(
  head: PooledHead, network: NetworkState, boundary: steps.Boundary
) -> jax.Array:
  """Features `[N, C]` by the head of a network from activations `[N, h, w, c]`."""
  return steps.map_in_batches(
    lambda part: head(network.variables(), part), boundary, _BATCH_SIZE
  )


def _prepare_nothing(head, network, majority, num_minority, key):
  return {}


def _prepare_share(head, network, majority, num_minority, key):
  return {
    'minority_share': num_minority / (num_minority + steps.count_images(majority))
  }


def _prepare_reference(head, network, majority, num_minority, key):
  """DevNet's reference scores: 5,000 standard normal numbers."""
  reference = jax.random.normal(key, (5000,))
  return {
    'reference_mean': reference.mean(),
    'reference_deviation': reference.std(),
  }


def _prepare_centre(head, network, majority, num_minority, key):
  """Deep SAD's centre, the mean majority feature before training, and a unit.

  Distances are counted in units of the majority's mean squared distance, or else
  the loss of the minority, an inverse, would depend on the scale of the features.
  """
  features = pool(head, network, majority)
  centre = features.mean(axis=0)
  mean_distance = jnp.sum((features - centre) ** 2, axis=1).mean()
  # One image is its own centre; then any unit does.
  return {'centre': centre, 'unit': jnp.where(mean_distance > 0, mean_distance, 1.0)}


def _score_by_logit(head, network, params, context, boundary, dropout_key):
  """The head's last unit, as the discriminator's score."""
  return steps.discriminate(network, params, boundary, dropout_key)


def _score_by_distance(head, network, params, context, boundary, dropout_key):
  """Squared distance of the pooled features to the centre, negated; no dropout."""
  arrays = network.variables(params) | context
  return scorers.score_head_distance(arrays, boundary, head)


@dataclasses.dataclass(frozen=True)
class Objective:
  """How a head scores images, and the loss of its scores.

  Attributes:
    loss: `(scores [B], is_minority [B], **context)`, less what is `scored_with`, to `[B]`.
    prepare: `(head, network, majority, num_minority, key)` to the context: what
      loss and score need to know of the training images and the untrained network.
    score: in training, `(head, network, params, context, boundary, dropout_key)` to
      `[B]`, higher for the majority.
    kind: of the trained head's `Scorer`.
    scored_with: what of the context the scorer needs, and the loss does not.
    make_batches: `batches.shuffle` or `batches.balance`.
  """

  loss: Callable[..., jax.Array]
  prepare: Callable[..., Context] = _prepare_nothing
  score: Callable[..., jax.Array] = _score_by_logit
  kind: str = 'head_logit'
  scored_with: tuple[str, ...] = ()
  make_batches: Callable[..., batches.Batches] = batches.shuffle


FINE_TUNED = Objective(losses.cross_entropy)
FOCAL = Objective(losses.focal)
CLASS_WEIGHTED = Objective(losses.class_weighted, _prepare_share)
# Balanced batches as in its paper, algorithm 1.
DEVIATION_NETWORK = Objective(
  losses.deviation, _prepare_reference, make_batches=batches.balance
)
# Its paper maps to the hypersphere without biases, against a collapse into the
# centre; the layers here have them, but few train and the minority counters it.
DEEP_SAD = Objective(
  losses.deep_sad,
  _prepare_centre,
  _score_by_distance,
  kind='head_distance',
  scored_with=('centre', 'unit'),
)
