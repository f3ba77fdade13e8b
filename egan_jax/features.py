"""Pooled features of images by a whole backbone: a library call and a command.

  python -m egan_jax.features --backbone=NAME --images=FILE.npy --output=features.npz

Images are a .npy file of uint8 `[N, H, W, 3]` or a folder of image files.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from egan_jax import backbones, command_line, feature_extractor, run_files
from egan_jax.checks import check_count
from egan_jax.data.batches import Images, check_images, choose_side
from egan_jax.data.image_files import decode, find_images, read_size
from egan_jax.errors import UserError
from egan_jax.feature_extractor import BATCH_SIZE


class ImageFiles:
  """Image files as an array uint8 `[N, H, W, 3]`, of which only slices are read.

  Raises:
    UserError: a file is no image, or their sizes differ and none was asked for.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, paths: Sequence[Path], image_size: int | None = None):
    """Reads the sizes, if none is given.

    Args:
      paths: the files.
      image_size: side, in pixels, of the squares that images become; None for their
        own size if they have all the same.
    """
    self._paths = paths
    self._image_size = image_size
    width, height = image_size, image_size
    if image_size is None:
      sizes = {read_size(path) for path in paths}
      if len(sizes) > 1:
        raise UserError('the images differ in size: set --image_size')
      ((width, height),) = sizes
    self.shape = (len(paths), height, width, 3)

  def __getitem__(self, indices: slice) -> np.ndarray:
    return np.stack([decode(path, self._image_size) for path in self._paths[indices]])


def extract(
  name: str,
  images: Images,
  weights: str | os.PathLike = 'imagenet',
  image_size: int | None = None,
  preprocess: str = 'imagenet',
  batch_size: int = BATCH_SIZE,
) -> np.ndarray:
  """Features of images by a whole backbone, pooled as its players pool them.

  Args:
    name: a backbone of `backbones.names()`.
    images: uint8 `[N, H, W, 3]`; a batch at a time is read and reaches the device.
    weights: 'imagenet', a path, or 'none' for random ones, always the same.
    image_size: side of the square images the backbone sees, in pixels; by default
      that of the images.
    preprocess: 'imagenet' is what the backbone's ImageNet weights expect; 'scale'
      leaves images in [0, 1] as the authors of the paper did.
    batch_size: images per batch; changes the features by rounding only.

  Returns:
    float32 `[N, C]`: the last feature map, averaged over its pixels or, of the small
    networks, flattened.

  Raises:
    UserError: no such backbone or weights, or images that are not as above.
  """
  check_images(images)
  if not images.shape[0]:
    raise UserError(f'there are no images in {list(images.shape)}')
  check_count('batch_size', batch_size)
  size = choose_side(images, image_size)
  extractor = feature_extractor.make((name,), weights, size, preprocess)
  return feature_extractor.run(extractor, images, batch_size)


def extract_to_file(
  name: str,
  source: str | os.PathLike,
  output: str | os.PathLike,
  weights: str | os.PathLike = 'imagenet',
  image_size: int | None = None,
  preprocess: str = 'imagenet',
  batch_size: int = BATCH_SIZE,
) -> tuple[int, ...]:
  """Writes an .npz file of `features` and, of a folder's images, `paths`.

  Args:
    name: a backbone.
    source: a .npy file of uint8 `[N, H, W, 3]`, or a folder of image files.
    output: the file to write.
    weights: as of `extract`, like all that follow.
    image_size: needed if the images of a folder differ in size.
    preprocess: see `extract`.
    batch_size: see `extract`.

  Returns:
    The shape of the features.

  Raises:
    UserError: as of `extract`; the images cannot be read, or the output cannot be
      written or is one of them.
  """
  images, paths = _open_images(Path(source), image_size)
  read = (Path(source) / name for name in paths.get('paths', ()))
  run_files.check_output(output, [source, *read])
  features = extract(name, images, weights, image_size, preprocess, batch_size)
  with run_files.open_output(output) as file:
    np.savez(file, features=features, **paths)
  return features.shape


def _open_images(
  source: Path, image_size: int | None
) -> tuple[Images, dict[str, np.ndarray]]:
  """Images, and `paths` within the folder if they come from one."""
  if source.is_dir():
    paths = find_images(source)
    names = [path.relative_to(source).as_posix() for path in paths]
    return ImageFiles(paths, image_size), {'paths': np.array(names)}
  try:
    images = np.load(source, mmap_mode='r')
  except FileNotFoundError as error:
    raise UserError(f'there is no file or folder {source}') from error
  except Exception as error:  # parsers of damaged bytes raise almost anything
    raise UserError(
      f'{source} is neither a folder nor a .npy file of numbers'
    ) from error
  if not isinstance(images, np.ndarray):
    raise UserError(f'{source} holds several arrays: a .npy file of one is needed')
  return images, {}


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  backbone = flags.DEFINE_string('backbone', None, f'{", ".join(backbones.names())}.')
  images = command_line.define_path('images', 'A .npy file or a folder of images.')
  output = command_line.define_path('output', 'The .npz file to write.')
  weights = flags.DEFINE_string('weights', 'imagenet', "'imagenet', 'none' or a path.")
  image_size = flags.DEFINE_integer(
    'image_size', None, 'Side of the images the backbone sees; default: their own.'
  )
  preprocess = flags.DEFINE_string('preprocess', 'imagenet', "'imagenet' or 'scale'.")
  batch_size = flags.DEFINE_integer('batch_size', BATCH_SIZE, 'Images per batch.')

  def main() -> None:
    shape = extract_to_file(
      backbone.value,
      images.value,
      output.value,
      weights.value,
      image_size.value,
      preprocess.value,
      batch_size.value,
    )
    print(f'features {list(shape)} in {output.value}')

  command_line.run(main, required=(backbone, images, output))


if __name__ == '__main__':
  run_command()
