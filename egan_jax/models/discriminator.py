"""The discriminator: its score is the classifier."""

import flax.linen as nn
import jax

from egan_jax.backbones.graph import LayerGraph
from egan_jax.models.pooling import pool


class Discriminator(nn.Module):
  """Backbone, pooling, dropout, one unit (paper section 3.1).

  With DenseNet121: 7,038,529 parameters, 39,937 of them trainable.

  Attributes:
    backbone: the head of the backbone, after the cut.
    pooling: 'average' or 'flatten'.
    dropout_rate: 0.2 in the paper.
    head_activation: 'linear' gives a logit. 'sigmoid' is what the authors used
      without pre-training (Fig. 5): its scores are never negative.
  """

  backbone: LayerGraph
  pooling: str = 'average'
  dropout_rate: float = 0.2
  head_activation: str = 'linear'

  @nn.compact
  def __call__(
    self, boundary_activations: dict[str, jax.Array], train: bool = False
  ) -> jax.Array:
    """Scores `[B]` from boundary activations `[B, h, w, c]` by layer name.

    Positive means majority, negative minority. In training a `dropout` rng is
    needed.
    """
    x = pool(self.backbone(boundary_activations, train=train), self.pooling)
    x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    scores = nn.Dense(1, kernel_init=nn.initializers.glorot_uniform(), name='score')(x)
    if self.head_activation == 'sigmoid':
      scores = nn.sigmoid(scores)
    return scores[:, 0]
