"""Fitted methods as data: arrays and the name of a function that scores with them.

A `Scorer` is a pytree without closures, so it passes through jit, vmap, grad and
`jax.export`, can be written to a file and is rebuilt from `(arrays, kind, head)`.
Score < 0 or below a threshold means minority; high means majority. All is float32;
features are centred before anything is squared, and `Scorer.scores` computes products in
full float32 on every device.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from egan_jax import two_covariance
from egan_jax.float32_products import in_float32
from egan_jax.models.pooled_head import PooledHead
from egan_jax.state import NetworkState, Player

FEATURES = 'features'
BOUNDARY = 'boundary'

# Of "deep nearest neighbour" anomaly detection, DN2 (Bergman et al. 2020).
NUM_NEIGHBORS = 2

_LARGEST_BATCH = 512  # only bounds memory

Arrays = Mapping[str, Any]


@struct.dataclass
class Scorer:
  """A fitted method.

  Attributes:
    arrays: everything fitted, nested dicts of arrays by name; see the function in
      `KINDS` for what must be there.
    kind: a key of `KINDS`.
    head: the layers after the cut, for kinds that read boundary activations.
    note: what the fit did otherwise than the method's name says, and why; else ''.
  """

  arrays: Any = struct.field(repr=False)  # as a trunk's
  kind: str = struct.field(pytree_node=False)
  head: PooledHead | None = struct.field(pytree_node=False, default=None)
  note: str = struct.field(pytree_node=False, default='')

  @property
  def reads(self) -> str:
    """FEATURES, pooled `[B, C]`, or BOUNDARY, activations `[B, h, w, c]` by name."""
    return BOUNDARY if self.kind in _OF_BOUNDARY else FEATURES

  @property
  def minority_score_distribution(self) -> tuple[float, float] | None:
    """Mean and deviation of a new minority image's score, if the method forecasts it.

    Stored as `[2]` in `arrays['minority_score_distribution']`.
    """
    model = self.arrays.get('minority_score_distribution')
    return None if model is None else (float(model[0]), float(model[1]))

  def __call__(self, inputs: Any) -> jax.Array:
    """Scores float32 `[B]` of what the method reads of B images; traceable."""
    if self.reads == BOUNDARY:
      return KINDS[self.kind](self.arrays, inputs, self.head).astype(jnp.float32)
    return KINDS[self.kind](self.arrays, jnp.asarray(inputs, jnp.float32))

  def scores(self, inputs: Any) -> np.ndarray:
    """Scores float32 `[N]` of any number of images, a batch at a time."""
    number = jax.tree.leaves(inputs)[0].shape[0]
    # Powers of two, so that few sizes are compiled.
    size = min(_LARGEST_BATCH, 1 << max(number - 1, 0).bit_length())
    parts = [np.zeros(0, np.float32)]
    for start in range(0, number, size):
      batch = jax.tree.map(lambda a, s=start: _pad(a[s : s + size], size), inputs)
      parts.append(np.asarray(_score(self, batch))[: number - start])
    return np.concatenate(parts)


def make(arrays: Any, kind: str, note: str = '') -> Scorer:
  """A scorer of features whose arrays, of any precision, become float32."""
  return Scorer(
    jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), arrays), kind, note=note
  )


def from_discriminator(
  network: NetworkState, player: Player, head_activation: str = 'linear'
) -> Scorer:
  """The discriminator of one fold, without its optimiser; scores as `steps.score`.

  Args:
    network: its state; leaves have no leading axis of folds.
    player: what it was made of.
    head_activation: of its last unit, 'linear' or 'sigmoid'.
  """
  return Scorer(
    network.variables(),
    {'linear': 'head_logit', 'sigmoid': 'head_sigmoid'}[head_activation],
    PooledHead(player.head, player.backbone.pooling),
  )


def log_likelihood_ratio(scorer: Scorer, features: np.ndarray) -> np.ndarray | None:
  """Of the majority to the minority `[B]`, by methods that model both, be it in part.

  Args:
    scorer: fitted.
    features: float32 `[B, C]`.
  """
  if scorer.kind not in _PLDA_IN:
    return None
  arrays = functools.reduce(operator.getitem, _PLDA_IN[scorer.kind], scorer.arrays)
  return np.asarray(_score_plda(arrays, features))


def score_constant(arrays: Arrays, features: jax.Array) -> jax.Array:
  """`value`, whatever the features `[B, C]`."""
  return jnp.broadcast_to(arrays['value'], features.shape[:1])


def score_linear(arrays: Arrays, features: jax.Array) -> jax.Array:
  """`(features - centre) @ weights + offset`, with centre and weights `[C]`."""
  return (features - arrays['centre']) @ arrays['weights'] + arrays['offset']


def score_knn(arrays: Arrays, features: jax.Array) -> jax.Array:
  """Mean distance to the nearest of `index` `[M, C]`, negated; 2 neighbours or M.

  `index` is stored less `centre` `[C]`. Neighbours are found by expanded squares
  and their distances then computed from the differences, which also keeps small
  ones right.
  """
  index = arrays['index']
  centred = features - arrays['centre']
  nearness = 2 * (centred @ index.T) - jnp.sum(index**2, axis=1)
  _, nearest = jax.lax.top_k(nearness, min(NUM_NEIGHBORS, len(index)))
  differences = centred[:, None, :] - jnp.take(index, nearest, axis=0)
  squares = jnp.sum(differences**2, axis=2)
  # An image of the index itself: the root has no gradient at 0.
  tiny = jnp.finfo(jnp.float32).tiny
  return -jnp.mean(jnp.sqrt(jnp.maximum(squares, tiny)), axis=1)


def score_class_mean_and_knn(arrays: Arrays, features: jax.Array) -> jax.Array:
  """`class_mean`, standardised already, plus `knn` in `deviation`s from its `mean`."""
  knn = score_knn(arrays['knn'], features)
  standardised = (knn - arrays['mean']) / arrays['deviation']
  return score_linear(arrays['class_mean'], features) + standardised


def score_mahalanobis(arrays: Arrays, features: jax.Array) -> jax.Array:
  """Squared norm of `(features - centre) @ whitening`, `[C]` and `[C, R]`, negated."""
  whitened = (features - arrays['centre']) @ arrays['whitening']
  return -jnp.sum(whitened**2, axis=1)


def score_fusion(arrays: Arrays, features: jax.Array) -> jax.Array:
  """`plda_knn` plus, weighed, a `logistic` line on the features' roots.

  Each less its mean on held-out majority images, in their deviations.
  """
  together = two_covariance.score_plda_knn(arrays['plda_knn'], features)
  roots = two_covariance.raise_to(features, arrays['plda_knn']['plda']['power'])
  log_odds = score_linear(arrays['logistic'], roots)
  return (together - arrays['plda_knn_mean']) / arrays['plda_knn_deviation'] + arrays[
    'logistic_weight'
  ] * (log_odds - arrays['logistic_mean']) / arrays['logistic_deviation']


def score_head_logit(arrays: Arrays, boundary: Any, head: PooledHead) -> jax.Array:
  """The last unit of a discriminator with `params` and `batch_stats`."""
  unit = arrays['params']['score']
  return (pool(arrays, boundary, head) @ unit['kernel'] + unit['bias'])[:, 0]


def score_head_sigmoid(arrays: Arrays, boundary: Any, head: PooledHead) -> jax.Array:
  """The same after a sigmoid, as the authors had it in Fig. 5."""
  return jax.nn.sigmoid(score_head_logit(arrays, boundary, head))


def score_head_distance(arrays: Arrays, boundary: Any, head: PooledHead) -> jax.Array:
  """Squared distance of the head's features to `centre`, in `unit`s, negated."""
  differences = pool(arrays, boundary, head) - arrays['centre']
  return -jnp.sum(differences**2, axis=1) / arrays['unit']


def pool(arrays: Arrays, boundary: Any, head: PooledHead) -> jax.Array:
  """The head's features `[B, C]` of boundary activations, with a scorer's arrays."""
  variables = {name: arrays[name] for name in ('params', 'batch_stats')}
  return head(variables, boundary)


KINDS: dict[str, Callable[..., jax.Array]] = {
  'constant': score_constant,
  'linear': score_linear,
  'knn': score_knn,
  'class_mean_and_knn': score_class_mean_and_knn,
  'mahalanobis': score_mahalanobis,
  'plda': two_covariance.score_plda,
  'plda_knn': two_covariance.score_plda_knn,
  'fusion': score_fusion,
  'head_logit': score_head_logit,
  'head_sigmoid': score_head_sigmoid,
  'head_distance': score_head_distance,
}
# Where the arrays of 'plda' are in those of a kind.
_PLDA_IN = {'plda': (), 'plda_knn': ('plda',), 'fusion': ('plda_knn', 'plda')}
_OF_BOUNDARY = frozenset({'head_logit', 'head_sigmoid', 'head_distance'})


_score_plda = in_float32(two_covariance.score_plda)


@jax.jit
@in_float32
def _score(scorer: Scorer, batch: Any) -> jax.Array:
  return scorer(batch)


def _pad(images: Any, size: int) -> Any:
  """The images `[B, ...]` with copies of the last one up to `[size, ...]`."""
  missing = size - len(images)
  if not missing:
    return images
  xp = jnp if isinstance(images, jax.Array) else np
  return xp.concatenate([images, xp.repeat(images[-1:], missing, axis=0)])
