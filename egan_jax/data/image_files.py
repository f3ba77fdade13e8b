"""Image files: found, and decoded the one way there is.

Training, prediction and reports all go through `decode`, so that a file has the same
pixels everywhere.
"""

import collections
import contextlib
import dataclasses
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from egan_jax.data.file_lists import SUFFIXES, read_csv, walk
from egan_jax.errors import UserError

# What files of these suffixes hold. Pillow would take a file under any suffix for what
# it is, PostScript included, which it has another program run.
_FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF')

# By EXIF orientation, what turns an image upright. Pillow's `exif_transpose` writes the
# EXIF data anew, and cannot where any of them are not as the standard has them.
_TO_UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}

_IN_FLIGHT = 64  # images decoded ahead of whoever consumes them

Source = str | os.PathLike | bytes


class UnreadableImageError(UserError):
  """A file that gives no pixels.

  Attributes:
    reason: what is wrong with it, as in 'FILE REASON'.
  """

  def __init__(self, source: Source, reason: str):
    name = 'the image' if isinstance(source, bytes) else os.fspath(source)
    super().__init__(f'{name} {reason}')
    self.reason = reason


@dataclasses.dataclass(frozen=True)
class ImageFacts:
  """What a file was before its image became a square.

  Attributes:
    width: in pixels, upright.
    height: likewise.
    mode: Pillow's name of the pixel format, such as 'L', 'RGB' or 'I;16'.
    brightest: the highest value of any pixel and channel once it is decoded, up to 255.
    sha256: of the decoded pixels, hex: equal for two files of the same image. Of a large
      JPEG it depends on the size that was asked for.
    file_sha256: of the file's bytes, hex.
  """

  width: int
  height: int
  mode: str
  brightest: int
  sha256: str
  file_sha256: str


def decode(source: Source, image_size: int | None) -> np.ndarray:
  """The pixels of an image file, whatever its format, mode and aspect.

  The first frame, turned upright as its EXIF data say if they can be read. Grey becomes
  three equal channels; 1-bit is black and white; palettes are looked up; CMYK is
  converted; transparent parts are black. Grey of more than 8 bits is scaled by its full
  range (65535 is white for 16 bits), floating-point grey from [0, 1]. Colour profiles
  are ignored. The image is squashed to the square with Pillow's antialiased bilinear
  filter; large JPEGs are first decoded at a lower resolution where that is exact to
  rounding, never below twice the square.

  Args:
    source: a path, or the bytes of a file.
    image_size: side of the square in pixels; None leaves the image's own size.

  Returns:
    uint8 `[image_size, image_size, 3]`, or `[H, W, 3]`.

  Raises:
    UnreadableImageError: a file that is missing, may not be read, is damaged, empty,
      no image of `SUFFIXES`, or has more pixels than Pillow takes for safe.
  """
  _, _, image = _read(source, image_size)
  return _squash(image, image_size)


def inspect(source: Source, image_size: int) -> tuple[np.ndarray, ImageFacts]:
  """As `decode`, with what else a data report tells of a file."""
  (width, height), mode, image = _read(source, image_size)
  digest = hashlib.sha256(f'{width}x{height}'.encode())
  digest.update(image.tobytes())
  with _open_file(source) as file:
    of_file = hashlib.file_digest(file, 'sha256').hexdigest()
  brightest = max(high for _, high in image.getextrema())
  facts = ImageFacts(width, height, mode, brightest, digest.hexdigest(), of_file)
  return _squash(image, image_size), facts


def read_size(source: Source) -> tuple[int, int]:
  """Width and height of an image as it is stored, of which no pixel is decoded.

  Raises:
    UnreadableImageError: as of `decode`, except for damaged pixels.
  """
  with _open(source) as image:
    return image.size


def decode_many(
  sources: Iterable[Source], image_size: int
) -> Iterator[np.ndarray | UnreadableImageError]:
  """Decodes in parallel threads, a bounded number ahead; results are in order.

  Args:
    sources: paths or bytes, any number of them; read as they are needed.
    image_size: as of `decode`.

  Yields:
    What `decode` returns, or the error that it raised.
  """
  return map_in_threads(lambda source: decode(source, image_size), sources)


def map_in_threads(
  function: Callable[[Source], Any], sources: Iterable[Source]
) -> Iterator[Any]:
  """Results of a function in order; an `UnreadableImageError` is a result."""

  def call(source):
    try:
      return function(source)
    except UnreadableImageError as error:
      return error

  sources = iter(sources)
  executor = futures.ThreadPoolExecutor(thread_name_prefix='decode')
  try:
    pending = collections.deque(
      executor.submit(call, source) for source in itertools.islice(sources, _IN_FLIGHT)
    )
    while pending:
      yield pending.popleft().result()
      pending.extend(executor.submit(call, s) for s in itertools.islice(sources, 1))
  finally:
    executor.shutdown(cancel_futures=True)


def find_images(source: str | os.PathLike) -> list[Path]:
  """The image files that a path stands for; arguments and errors as of `list_images`."""
  return list_images(source)[0]


def list_images(
  source: str | os.PathLike,
) -> tuple[list[Path], list[str], collections.Counter]:
  """The image files that a path stands for.

  Args:
    source: an image file; a folder, of which every file of `SUFFIXES` in it and below
      counts, sorted, hidden ones left out; or a CSV file with a column `path`, in its
      order, relative to its own folder.

  Returns:
    The files; what they are called: their paths, or what the CSV file has; and how many
    files are passed over, by kind.

  Raises:
    UserError: no such file or folder, no images, or no such column.
  """
  source = Path(os.path.expanduser(source))
  if os.path.isdir(source):  # also for names that cannot be
    paths, passed_over = walk(source)
    if not paths:
      raise UserError(
        f'there are no image files in {source} ({", ".join(s[1:] for s in SUFFIXES)})'
      )
    return paths, list(map(str, paths)), passed_over
  if not os.path.exists(source):
    raise UserError(f'there is no file or folder {source}')
  nothing = collections.Counter()
  if source.suffix.lower() != '.csv':
    return [source], [str(source)], nothing
  names = [row['path'] for _, row in read_csv(source, ('path',))]
  return [source.parent / os.path.expanduser(name) for name in names], names, nothing


def _squash(image: Image.Image, image_size: int | None) -> np.ndarray:
  if image_size is not None:
    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
  return np.asarray(image)


def _read(
  source: Source, image_size: int | None
) -> tuple[tuple[int, int], str, Image.Image]:
  """Size and mode of the file, and its upright image in RGB, perhaps a smaller one."""
  with _open(source) as image:
    size, mode = image.size, image.mode
    # JPEG decodes smaller by up to 8, but would stretch a side that this leaves over.
    if image_size is not None and not (size[0] % 8 or size[1] % 8):
      image.draft(None, (2 * image_size, 2 * image_size))
    whole = image.size == size
    rgb = _to_rgb(image)
    # Of a decoded image, which if it is a TIFF Pillow has turned.
    orientation = _read_orientation(image)
    if orientation in _TO_UPRIGHT:
      rgb = rgb.transpose(_TO_UPRIGHT[orientation])
      size = size[::-1] if orientation >= 5 else size
    return rgb.size if whole else size, mode, rgb


def _read_orientation(image: Image.Image) -> Any:
  """What EXIF data say, or None."""
  try:
    return image.getexif().get(ExifTags.Base.Orientation)
  except Exception:  # parsers of damaged bytes raise almost anything
    return None


@contextlib.contextmanager
def _open(source: Source) -> Iterator[Image.Image]:
  """Opens a file; whatever happens to the image inside is for being unreadable."""
  with _open_file(source) as file:
    if not file.read(1):
      raise UnreadableImageError(source, 'is empty')
    try:
      with Image.open(file, formats=_FORMATS) as image:
        width, height = image.size
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and width * height > limit:
          raise Image.DecompressionBombError(f'{width} x {height} pixels')
        yield image
    except UnidentifiedImageError as error:
      formats = ', '.join(_FORMATS)
      reason = f'is damaged or no image: it is in none of the formats {formats}'
      raise UnreadableImageError(source, reason) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
      reason = f'has too many pixels to be decoded safely: {error}'
      raise UnreadableImageError(source, reason) from error
    except Exception as error:  # decoders of damaged bytes raise almost anything
      message = ' '.join(str(error).split()) or type(error).__name__
      reason = f'is damaged or no image: {message}'
      raise UnreadableImageError(source, reason) from error


@contextlib.contextmanager
def _open_file(source: Source) -> Iterator[BinaryIO]:
  """What a file holds. It is read as needed: a slide of a microscope takes gigabytes."""
  try:
    if isinstance(source, bytes):
      yield io.BytesIO(source)
      return
    path = Path(source)
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
      raise UnreadableImageError(source, 'is no file')
    with path.open('rb') as file:
      yield file
  except (FileNotFoundError, ValueError) as error:  # ValueError: no possible path
    raise UnreadableImageError(source, 'is missing') from error
  except OSError as error:
    raise UnreadableImageError(source, f'cannot be read: {error.strerror}') from error


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith(('I', 'F')):
    return Image.fromarray(_to_8_bits(image)).convert('RGB')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    black = Image.new('RGBA', image.size, 'black')
    image = Image.alpha_composite(black, image)
  return image.convert('RGB')


def _to_8_bits(image: Image.Image) -> np.ndarray:
  """Grey of more than 8 bits as uint8 `[H, W]`.

  Raises:
    ValueError: values outside the range that the mode says they have.
  """
  tags = getattr(image, 'tag_v2', {})  # of TIFF
  if image.mode == 'F':
    white = 1.0
  elif image.mode.startswith('I;'):
    white = 2.0 ** tags.get(ExifTags.Base.BitsPerSample, (16,))[0] - 1
  else:  # 32-bit integers: where some versions of Pillow put 16 bits
    white = 65535.0
  values = np.asarray(image).astype(np.float64)
  if not (values.min() >= 0 and values.max() <= white):
    raise ValueError(
      f'its values, {values.min():g} to {values.max():g}, are outside [0, {white:g}]'
    )
  values = np.round(values * (255 / white)).astype(np.uint8)
  # Pillow undoes TIFF's "white is zero" for 8 bits only.
  white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
  return 255 - values if white_is_zero else values
