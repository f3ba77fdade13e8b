"""From a backbone's last feature map to a vector."""

import jax


def pool(features: jax.Array, pooling: str) -> jax.Array:
  """`[B, h, w, C]` to `[B, C]` ('average') or `[B, h*w*C]` ('flatten')."""
  if pooling == 'average':
    return features.mean(axis=(1, 2))
  if pooling == 'flatten':
    return features.reshape(features.shape[0], -1)
  raise ValueError(f'unknown pooling {pooling!r}')
