"""From image files to pixels: every mode, every damage, in order and in parallel."""

import io
import itertools
import os
import struct
import threading
import zlib
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from egan_jax.data import file_lists, image_files
from egan_jax.data.image_files import UnreadableImageError, decode, inspect
from egan_jax.errors import UserError


def _colours(height=12, width=20, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def _encode(image, format='PNG', **options):
  file = io.BytesIO()
  image.save(file, format, **options)
  return file.getvalue()


def _tiff(values, bits, photometric=1):
  """An uncompressed grey TIFF as its specification has it, packed bits and all."""
  height, width = values.shape
  packed = b''.join(
    int(''.join(f'{v:0{bits}b}' for v in row), 2).to_bytes(width * bits // 8, 'big')
    for row in values
  )
  if bits == 16:
    packed = values.astype('<u2').tobytes()
  tags = [
    (256, 4, width),
    (257, 4, height),
    (258, 3, bits),
    (259, 3, 1),  # no compression
    (262, 3, photometric),
    (273, 4, 8 + 2 + 9 * 12 + 4),  # where the pixels are
    (277, 3, 1),
    (278, 4, height),
    (279, 4, len(packed)),
  ]
  entries = b''.join(struct.pack('<HHII', tag, kind, 1, v) for tag, kind, v in tags)
  return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4) + packed


def _grey(values):
  return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


# Each is bytes of a file and the pixels that an observer of the image sees.
def _as_rgb():
  return _encode(Image.fromarray(_colours())), _colours()


def _as_bmp():
  return _encode(Image.fromarray(_colours()), 'BMP'), _colours()


def _as_webp():
  return _encode(Image.fromarray(_colours()), 'WEBP', lossless=True), _colours()


def _as_tiff():
  return _encode(Image.fromarray(_colours()), 'TIFF', compression='tiff_lzw'), (
    _colours()
  )


def _as_grey():
  grey = _colours()[..., 0]
  return _encode(Image.fromarray(grey)), _grey(grey)


def _as_one_bit():
  bits = _colours()[..., 0] > 127
  return _encode(Image.fromarray(bits)), _grey(bits * 255)


def _as_palette():
  indices = np.arange(240).reshape(12, 20).astype(np.uint8) % 7
  palette = _colours(1, 7, seed=1)[0]
  image = Image.fromarray(indices).convert('P')
  image.putpalette(palette.tobytes())
  image.putdata(indices.ravel())
  return _encode(image), palette[indices]


def _as_transparent_palette():
  data, expected = _as_palette()
  hidden = (expected == expected[0, 0]).all(axis=-1)
  image = Image.open(io.BytesIO(data))
  file = _encode(image, transparency=image.getpixel((0, 0)))
  return file, np.where(hidden[..., None], 0, expected)


def _over_black(colours, alpha):
  return np.round(colours * (alpha[..., None] / 255.0)).astype(np.uint8)


def _as_rgba():
  alpha = _colours(seed=2)[..., 0]
  rgba = np.dstack([_colours(), alpha])
  return _encode(Image.fromarray(rgba)), _over_black(_colours(), alpha)


def _as_grey_alpha():
  grey, alpha = _colours()[..., 0], _colours(seed=2)[..., 0]
  file = _encode(Image.fromarray(np.dstack([grey, alpha])))
  return file, _over_black(_grey(grey), alpha)


def _as_rgb_with_a_transparent_colour():
  colours = _colours()
  colours[3:5] = 200, 10, 30
  expected = colours.copy()
  expected[3:5] = 0
  return _encode(Image.fromarray(colours), transparency=(200, 10, 30)), expected


def _wide(limit):
  return np.random.default_rng(3).integers(0, limit, (12, 20))


def _as_16_bit_png():
  values = _wide(2**16)
  values[0, :2] = 0, 65535
  return _encode(Image.fromarray(values.astype(np.uint16))), _grey(
    np.round(values / 257)
  )


def _as_16_bit_tiff():
  return _tiff(_wide(2**16), 16), _grey(np.round(_wide(2**16) / 257))


def _as_16_bit_tiff_of_which_white_is_zero():
  return _tiff(_wide(2**16), 16, photometric=0), (
    255 - _grey(np.round(_wide(2**16) / 257))
  )


def _as_8_bit_tiff_of_which_white_is_zero():
  return _tiff(_wide(2**8), 8, photometric=0), 255 - _grey(_wide(2**8))


def _as_12_bit_tiff():
  return _tiff(_wide(2**12), 12), _grey(np.round(_wide(2**12) * (255 / 4095)))


def _as_32_bit_tiff():
  return _encode(Image.fromarray(_wide(2**16).astype(np.int32)), 'TIFF'), _grey(
    np.round(_wide(2**16) / 257)
  )


def _as_float_tiff():
  values = np.random.default_rng(4).random((12, 20)).astype(np.float32)
  return _encode(Image.fromarray(values), 'TIFF'), _grey(
    np.round(values.astype(np.float64) * 255)
  )


def _as_first_frame(format):
  first, second = (Image.fromarray(_colours(seed=seed)) for seed in (0, 5))
  options = {'save_all': True, 'append_images': [second]}
  if format == 'WEBP':
    options['lossless'] = True
  return _encode(first, format, **options), _colours()


EXACT = {
  'rgb': _as_rgb,
  'bmp': _as_bmp,
  'webp': _as_webp,
  'tiff': _as_tiff,
  'grey': _as_grey,
  'one bit': _as_one_bit,
  'palette': _as_palette,
  'transparent palette': _as_transparent_palette,
  'rgba': _as_rgba,
  'grey alpha': _as_grey_alpha,
  'transparent colour': _as_rgb_with_a_transparent_colour,
  '16-bit png': _as_16_bit_png,
  '16-bit tiff': _as_16_bit_tiff,
  '16-bit white is zero': _as_16_bit_tiff_of_which_white_is_zero,
  '8-bit white is zero': _as_8_bit_tiff_of_which_white_is_zero,
  '12-bit tiff': _as_12_bit_tiff,
  '32-bit tiff': _as_32_bit_tiff,
  'float tiff': _as_float_tiff,
  'animated png': lambda: _as_first_frame('PNG'),
  'animated webp': lambda: _as_first_frame('WEBP'),
  'pages of tiff': lambda: _as_first_frame('TIFF'),
}


@pytest.mark.parametrize('kind', EXACT)
def test_every_mode_gives_what_an_observer_sees(kind, tmp_path):
  data, expected = EXACT[kind]()
  (tmp_path / 'x.any').write_bytes(data)
  actual = decode(data, None)
  assert actual.dtype == np.uint8
  if kind in ('rgba', 'grey alpha'):
    # Pillow composes in integers.
    np.testing.assert_allclose(actual.astype(int), expected, atol=1)
  else:
    np.testing.assert_array_equal(actual, expected)
  squashed = decode(tmp_path / 'x.any', 8)
  reference = Image.fromarray(actual).resize((8, 8), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(squashed, np.asarray(reference))


def test_cmyk():
  """Pure inks, of which nobody disputes the colour."""
  inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 0, 255]]])
  image = Image.frombytes('CMYK', (4, 1), inks.astype(np.uint8).tobytes())
  image = image.resize((64, 16), Image.Resampling.NEAREST)
  for data in (_encode(image, 'TIFF'), _encode(image, 'JPEG', quality=100)):
    actual = decode(data, None)[8, 8::16].astype(int)
    expected = [[255] * 3, [0, 255, 255], [255, 0, 255], [0] * 3]
    np.testing.assert_allclose(actual, expected, atol=3)


def test_jpeg_is_what_pillow_makes_of_it():
  data = _encode(Image.fromarray(_colours(30, 50)), 'JPEG')
  image = Image.open(io.BytesIO(data))
  np.testing.assert_array_equal(decode(data, None), np.asarray(image))
  expected = image.resize((16, 16), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(decode(data, 16), np.asarray(expected))


@pytest.mark.parametrize('size', [(1280, 960), (1234, 987)])
def test_large_jpegs_are_decoded_smaller_to_the_same_image(size):
  large = Image.fromarray(_colours(9, 12)).resize(size, Image.Resampling.BICUBIC)
  data = _encode(large, 'JPEG', quality=90)
  whole = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR)
  np.testing.assert_allclose(decode(data, 32).astype(int), np.asarray(whole), atol=1)
  _, facts = inspect(data, 32)
  assert (facts.width, facts.height) == size


def test_large_jpegs_take_less_time():
  """Measured in pixels that the decoder gives, not on a clock."""
  data = _encode(Image.new('RGB', (1600, 1600)), 'JPEG')
  sizes = []

  def record(image):
    sizes.append(image.size)
    return image.convert('RGB')

  with mock.patch.object(image_files, '_to_rgb', record):
    decode(data, 100)
    decode(data, None)
  assert sizes == [(200, 200), (1600, 1600)]


# What must be done to an upright image to store it so that the tag is right.
_TO_STORED = {
  1: None,
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_90,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(
  ('format', 'kind'),
  [
    *itertools.product(['PNG', 'TIFF'], ['RGB', 'L', 'I;16', '1', 'RGBA']),
    ('WEBP', 'RGB'),
    ('WEBP', 'RGBA'),
  ],
)
@pytest.mark.parametrize('orientation', _TO_STORED)
def test_upright_and_rotated_copies_agree(format, kind, orientation):
  image = Image.fromarray(_colours(12, 20))
  if kind == 'I;16':
    image = Image.fromarray(_wide(2**16).astype(np.uint16))
  elif kind == 'RGBA':
    image.putalpha(Image.fromarray(_colours(seed=2)[..., 0]))
  else:
    image = image.convert(kind)
  options = {'lossless': True, 'exact': True} if format == 'WEBP' else {}
  exif = Image.Exif()
  exif[0x0112] = orientation
  method = _TO_STORED[orientation]
  stored = image if method is None else image.transpose(method)
  upright = _encode(image, format, **options)
  rotated = _encode(stored, format, exif=exif, **options)
  for size in (None, 7):
    np.testing.assert_array_equal(decode(rotated, size), decode(upright, size))
  expected, actual = inspect(upright, 7)[1], inspect(rotated, 7)[1]
  assert (actual.width, actual.height) == (expected.width, expected.height) == (20, 12)
  assert actual.sha256 == expected.sha256


@pytest.mark.parametrize('orientation', _TO_STORED)
def test_rotated_jpegs(orientation):
  image = Image.fromarray(_colours(4, 8)).resize((800, 400), Image.Resampling.BICUBIC)
  method = _TO_STORED[orientation]
  stored = image if method is None else image.transpose(method)
  exif = Image.Exif()
  exif[0x0112] = orientation
  rotated = _encode(stored, 'JPEG', exif=exif, quality=95)
  upright = _encode(image, 'JPEG', quality=95)
  for size in (None, 64):
    difference = np.abs(decode(rotated, size).astype(int) - decode(upright, size))
    assert difference.mean() < 1
  _, facts = inspect(rotated, 64)
  assert (facts.width, facts.height) == (800, 400)


def _exif(*entries):
  """EXIF data of tags, types, counts and values of up to four bytes."""
  packed = (struct.pack('<HHI4s', *entry) for entry in entries)
  return struct.pack('<4sIH', b'II*\0', 8, len(entries)) + b''.join(packed) + bytes(4)


@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize(
  ('exif', 'turn'),
  [
    (b'MM*\0' + b'\xff' * 9, None),
    (b'no EXIF data', None),
    (_exif((0x0112, 2, 4, b'six\0')), None),  # the orientation as text
    (_exif((0x0112, 7, 1, b'\6')), None),  # as bytes
    # As it should be, beside a thumbnail's place as text, which is a number.
    (
      _exif((0x0112, 3, 1, b'\6'), (0x0201, 2, 4, b'abc\0')),
      Image.Transpose.ROTATE_270,
    ),
  ],
)
@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
def test_broken_exif_is_no_reason_to_refuse(format, exif, turn):
  options = {'lossless': True} if format == 'WEBP' else {}
  image = Image.fromarray(_colours())
  data = _encode(image, format, exif=b'Exif\0\0' + exif, **options)
  expected = decode(_encode(image, format, **options), None)
  if turn is not None:
    expected = np.asarray(Image.fromarray(expected).transpose(turn))
  np.testing.assert_array_equal(decode(data, None), expected)


def test_facts():
  data, expected = _as_16_bit_png()
  pixels, facts = inspect(data, 8)
  assert (facts.width, facts.height, facts.mode) == (20, 12, 'I;16')
  np.testing.assert_array_equal(pixels, decode(data, 8))
  other = inspect(_encode(Image.fromarray(expected)), 4)[1]
  assert other.sha256 == facts.sha256
  assert facts.brightest == other.brightest == expected.max()
  changed = expected.copy()
  changed[5, 5, 1] ^= 1
  assert inspect(_encode(Image.fromarray(changed)), 4)[1].sha256 != facts.sha256
  folded = expected.reshape(20, 12, 3)
  assert inspect(_encode(Image.fromarray(folded)), 4)[1].sha256 != facts.sha256


def test_size_without_pixels():
  data = _as_rgb()[0]
  assert image_files.read_size(data) == (20, 12)
  assert image_files.read_size(data[:-200]) == (20, 12)
  with pytest.raises(UnreadableImageError, match='too many pixels'):
    image_files.read_size(_bomb())


def _bomb():
  """A PNG that says it has 20,000 x 20,000 pixels."""
  header = struct.pack('>IIBBBBB', 20000, 20000, 8, 0, 0, 0, 0)
  chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(bytes(20001)))]
  return b'\x89PNG\r\n\x1a\n' + b''.join(
    struct.pack('>I', len(data))
    + name
    + data
    + struct.pack('>I', zlib.crc32(name + data))
    for name, data in chunks
  )


UNREADABLE = {
  'truncated png': (_as_rgb()[0][:-200], 'damaged or no image'),
  'truncated jpeg': (
    _encode(Image.fromarray(_colours(64, 64)), 'JPEG')[:-1500],
    'truncated',
  ),
  'text': (b'this is no image', 'none of the formats'),
  'empty': (b'', 'is empty'),
  'bomb': (_bomb(), 'too many pixels'),
  'gif': (_encode(Image.fromarray(_colours()), 'GIF'), 'none of the formats'),
  'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'none of the'),
  'floats out of range': (
    _encode(Image.fromarray(np.full((4, 4), 1.5, np.float32)), 'TIFF'),
    'outside [0, 1]',
  ),
  'not a number': (
    _encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), 'TIFF'),
    'outside [0, 1]',
  ),
  'integers out of range': (
    _encode(Image.fromarray(np.full((4, 4), 65536, np.int32)), 'TIFF'),
    'outside [0, 65535]',
  ),
}


@pytest.mark.parametrize('kind', UNREADABLE)
def test_what_cannot_be_read(kind, tmp_path):
  data, part = UNREADABLE[kind]
  path = tmp_path / 'x.jpg'
  path.write_bytes(data)
  for source, name in ((path, str(path)), (data, 'the image')):
    with pytest.raises(UnreadableImageError) as caught:
      decode(source, 8)
    assert part in caught.value.reason
    assert str(caught.value) == f'{name} {caught.value.reason}'
    assert '\n' not in str(caught.value)
  assert isinstance(caught.value, UserError)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_every_image_above_the_limit_is_refused(monkeypatch):
  data, expected = _as_rgb()
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 12 * 20 - 1)
  with pytest.raises(UnreadableImageError, match=r'too many pixels.* 20 x 12'):
    decode(data, 8)
  for limit in (12 * 20, None):  # None: whoever imported Pillow wants none
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    np.testing.assert_array_equal(decode(data, None), expected)


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
  with pytest.raises(UnreadableImageError, match=r'nowhere\.png is missing'):
    decode(tmp_path / 'nowhere.png', 8)
  with pytest.raises(UnreadableImageError, match='is missing'):
    decode('no\0path', 8)
  with pytest.raises(UnreadableImageError, match='is no file'):
    decode(tmp_path, 8)
  os.mkfifo(tmp_path / 'pipe.png')
  with pytest.raises(UnreadableImageError, match='is no file'):
    decode(tmp_path / 'pipe.png', 8)

  def refuse(path, mode):
    raise PermissionError(13, 'Permission denied', str(path))

  (tmp_path / 'x.png').write_bytes(_as_rgb()[0])
  monkeypatch.setattr(type(tmp_path), 'open', refuse)
  with pytest.raises(UnreadableImageError, match=r'x\.png cannot be read: Permission'):
    decode(tmp_path / 'x.png', 8)


def test_no_more_of_a_file_is_read_than_its_image_takes(tmp_path):
  path = tmp_path / 'slide.bmp'
  path.write_bytes(_as_bmp()[0])
  os.truncate(path, 2**42)
  np.testing.assert_array_equal(decode(path, None), _as_bmp()[1])
  path.write_bytes(_bomb())
  os.truncate(path, 2**42)
  with pytest.raises(UnreadableImageError, match='too many pixels'):
    inspect(path, 8)


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP'])
@pytest.mark.filterwarnings('ignore')
def test_damage_anywhere_gives_pixels_or_a_reason(format):
  whole = _encode(Image.fromarray(_colours(24, 24)), format)
  rng = np.random.default_rng(7)
  outcomes = set()
  for _ in range(60):
    damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
    for place in rng.integers(0, len(damaged), rng.integers(0, 4)):
      damaged[place] ^= 1 << rng.integers(0, 8)
    try:
      pixels = decode(bytes(damaged), 8)
      assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
      outcomes.add('pixels')
    except UnreadableImageError as error:
      assert '\n' not in str(error)
      outcomes.add('reason')
  assert outcomes >= {'reason'}


def test_programming_errors_are_not_taken_for_damage():
  with pytest.raises(TypeError):
    decode(3, 8)
  with pytest.raises(TypeError):
    list(image_files.decode_many([None], 8))


def test_many_are_decoded_in_order_with_errors_in_place(tmp_path):
  sources = []
  for index in range(150):
    path = tmp_path / f'{index}.png'
    path.write_bytes(_encode(Image.fromarray(_colours(5, 6, seed=index))))
    sources.append(path)
  sources[17].write_bytes(b'no image')
  sources[90] = sources[90].read_bytes()
  for index, result in enumerate(image_files.decode_many(iter(sources), 4)):
    if index == 17:
      assert isinstance(result, UnreadableImageError)
      assert 'none of the formats' in result.reason
    else:
      np.testing.assert_array_equal(result, decode(sources[index], 4))
  assert index == 149


def test_a_bounded_number_is_read_ahead_and_threads_end():
  data = _as_rgb()[0]
  taken = itertools.count()
  sources = (data for _ in iter(lambda: next(taken), 10**9))
  results = image_files.decode_many(sources, 4)
  for _ in range(3):
    next(results)
  assert next(taken) < 3 + 2 * 64
  results.close()
  assert not [t for t in threading.enumerate() if t.name.startswith('decode')]


def test_decoding_runs_in_parallel():
  barrier = threading.Barrier(2, timeout=10)
  assert (
    len(list(image_files.map_in_threads(lambda _: barrier.wait(), [b'', b'']))) == 2
  )


def _touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


def test_images_of_a_folder(tmp_path):
  wanted = ['a.png', 'b/c.JPEG', 'b/d.webp', 'e.bmp', 'f.tif', 'g.TIFF', 'h.jfif']
  others = ['notes.txt', 'x.gif', '.hidden.png', '.cache/x.png', 'b/._c.jpg', 'png']
  _touch(tmp_path, *wanted, *others)
  found = image_files.find_images(tmp_path)
  assert found == sorted(tmp_path / name for name in wanted)
  paths, ignored = file_lists.walk(tmp_path)
  assert paths == found
  assert ignored == {'hidden': 3, '.txt': 1, '.gif': 1, 'without a suffix': 1}
  assert image_files.list_images(tmp_path) == (found, [*map(str, found)], ignored)
  single = tmp_path / 'a.png'
  assert image_files.list_images(single) == ([single], [str(single)], {})


def test_a_hidden_folder_above_does_not_hide(tmp_path):
  _touch(tmp_path / '.data', 'a.png')
  assert image_files.find_images(tmp_path / '.data') == [tmp_path / '.data' / 'a.png']


def test_links_are_followed_but_not_in_circles(tmp_path):
  _touch(tmp_path, 'real/a.png', 'set/b.png', 'set/c/d.png')
  (tmp_path / 'set' / 'link').symlink_to(tmp_path / 'real')
  (tmp_path / 'set' / 'again').symlink_to(tmp_path / 'real')
  (tmp_path / 'real' / 'back').symlink_to(tmp_path / 'set')
  (tmp_path / 'set' / 'c' / 'self').symlink_to(tmp_path / 'set' / 'c')
  names = [
    p.relative_to(tmp_path / 'set').as_posix()
    for p in image_files.find_images(tmp_path / 'set')
  ]
  assert names == ['again/a.png', 'b.png', 'c/d.png', 'link/a.png']


def test_a_single_file_and_a_csv(tmp_path):
  _touch(tmp_path, 'a.png', 'b/c.png')
  assert image_files.find_images(str(tmp_path / 'a.png')) == [tmp_path / 'a.png']
  table = tmp_path / 'list.csv'
  table.write_text(f'\ufeffscore, path\n1, b/c.png\n2,"{tmp_path}/a.png"\n3,gone.png\n')
  assert image_files.find_images(table) == [
    tmp_path / 'b' / 'c.png',
    tmp_path / 'a.png',
    tmp_path / 'gone.png',
  ]
  names = image_files.list_images(table)[1]
  assert names == ['b/c.png', f'{tmp_path}/a.png', 'gone.png']  # to be joined by


def test_a_home_folder_in_a_csv(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  table = tmp_path / 'list.csv'
  table.write_text('path\n~/a.png\n')
  assert image_files.find_images(table) == [tmp_path / 'a.png']


@pytest.mark.parametrize(
  ('content', 'part'),
  [
    ('a.png\nb.png\n', "must name the columns path, separated by commas, but it is 'a"),
    ('', "but it is ''"),
    ('path\n', 'names no images'),
    ('x,path\n1,a.png\n2\n', 'line 3: path is empty'),
    ('path\n"a.png\n', 'no CSV file'),
    (b'path\n\xff\xfe.png\n', 'no CSV file in UTF-8'),
  ],
)
def test_csv_files_with_mistakes(content, part, tmp_path):
  table = tmp_path / 'list.csv'
  table.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(UserError) as caught:
    image_files.find_images(table)
  assert part in str(caught.value)
  assert str(table) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_nothing_to_find(tmp_path, monkeypatch):
  for name in ('~nobody/x', 300 * 'a'):
    with pytest.raises(UserError, match='there is no file or folder'):
      image_files.find_images(name)
  with pytest.raises(UserError, match=r'there is no file or folder .*nowhere'):
    image_files.find_images(tmp_path / 'nowhere')
  _touch(tmp_path, 'notes.txt', '.a.png')
  with pytest.raises(UserError, match=r'no image files in .*\(png, jpg'):
    image_files.find_images(tmp_path)

  def refuse(path):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(os, 'scandir', refuse)
  with pytest.raises(UserError, match=r'cannot read the folder .*: Permission denied'):
    image_files.find_images(tmp_path)
