"""From stored images to what a backbone reads."""

import jax
import jax.numpy as jnp


def _of_type(images: jax.Array, *channels: float) -> jax.Array:
  """Numbers of the channels that leave the images' type as it is, also in x64 mode."""
  return jnp.array(channels, images.dtype)


# Functions of images in [0, 1]; `keras.applications.imagenet_utils` has the
# constants of 'torch' and 'caffe', the EfficientNet-Lite authors those of 'lite'.
IMAGENET_MODES = {
  'torch': lambda x: (
    (x - _of_type(x, 0.485, 0.456, 0.406)) / _of_type(x, 0.229, 0.224, 0.225)
  ),
  'caffe': lambda x: x[..., ::-1] * 255 - _of_type(x, 103.939, 116.779, 123.68),
  'raw': lambda x: x * 255,
  'lite': lambda x: (x * 255 - 127) / 128,
  'none': lambda x: x,
}


def resize(images: jax.Array, image_size: int) -> jax.Array:
  """Images `[B, H, W, C]` resized to `image_size` square, bilinear, antialiased."""
  shape = (images.shape[0], image_size, image_size, images.shape[3])
  if images.shape == shape:
    return images
  return jax.image.resize(images, shape, 'bilinear')


def to_unit_range(images: jax.Array) -> jax.Array:
  """uint8 images to float32 in [0, 1]: the authors' scaling by 1/255."""
  return images.astype(jnp.float32) / 255
