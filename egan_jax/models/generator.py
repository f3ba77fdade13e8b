"""The encoder-generator: minority images in, images for the discriminator out."""

import flax.linen as nn
import jax

from egan_jax.backbones.graph import LayerGraph
from egan_jax.models.pooling import pool
from egan_jax.models.transposed_convolution import TransposedConvolution

LATENT_SIZE = 128
_LEAKY_SLOPE = 0.2


class Decoder(nn.Module):
  """From latent vectors `[B, 128]` to images `[B, 32, 32, 3]` in [0, 1].

  Two transposed convolutions (paper section 3.1), with Keras's defaults for
  initialisation and batch norm and Keras's `Conv2DTranspose` semantics.
  """

  @nn.compact
  def __call__(self, latent: jax.Array, train: bool = False) -> jax.Array:
    """Images `[B, 32, 32, 3]`; in training, batch norm uses the batch's statistics."""
    x = nn.Dense(2048, kernel_init=nn.initializers.glorot_uniform(), name='dense')(
      latent
    )
    x = nn.leaky_relu(x, _LEAKY_SLOPE).reshape(-1, 8, 8, 32)
    x = self._upsample(x, 64, 'conv_transpose_1', 'batch_norm_1', train)
    x = nn.leaky_relu(x, _LEAKY_SLOPE)
    x = self._upsample(x, 3, 'conv_transpose_2', 'batch_norm_2', train)
    return nn.sigmoid(x)

  def _upsample(self, x, features, convolution_name, norm_name, train):
    x = TransposedConvolution(features, name=convolution_name)(x)
    return nn.BatchNorm(
      use_running_average=not train, momentum=0.99, epsilon=1e-3, name=norm_name
    )(x)


class Generator(nn.Module):
  """Encoder (backbone, pooling, latent units) and decoder.

  With DenseNet121: 7,453,391 parameters, 454,665 of them trainable.

  Attributes:
    backbone: the head of the backbone, after the cut.
    pooling: 'average' or 'flatten'.
  """

  backbone: LayerGraph
  pooling: str = 'average'

  def setup(self):  # noqa: D102
    self.latent = nn.Dense(LATENT_SIZE, kernel_init=nn.initializers.glorot_uniform())
    self.decoder = Decoder()

  def encode(
    self, boundary_activations: dict[str, jax.Array], train: bool = False
  ) -> jax.Array:
    """Latent vectors `[B, 128]` of the images behind the boundary activations."""
    features = self.backbone(boundary_activations, train=train)
    return self.latent(pool(features, self.pooling))

  def __call__(
    self, boundary_activations: dict[str, jax.Array], train: bool = False
  ) -> jax.Array:
    """Generated images `[B, 32, 32, 3]` in [0, 1]."""
    return self.decoder(self.encode(boundary_activations, train), train)
