"""Features of images: the library call and the command."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from egan_jax import backbones, feature_extractor, features, pretrained
from egan_jax.backbones import preprocessing
from egan_jax.errors import UserError

GOLDEN = Path(__file__).parent / 'golden' / 'efficientnet_lite0.npz'


def _images(count=5, size=16, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture
def tiny(tiny_registered, tiny_variables, monkeypatch):
  """The tiny backbone with weights that `pretrained.load` finds."""
  loads = []

  def load(name, path=None):
    loads.append((name, path))
    return tiny_variables

  monkeypatch.setattr(pretrained, 'load', load)
  return loads


def _by_hand(backbone, variables, images, image_size, mode):
  x = jnp.asarray(images, jnp.float32) / 255
  x = preprocessing.IMAGENET_MODES[mode](preprocessing.resize(x, image_size))
  return np.asarray(backbone.graph().apply(variables, x)).mean(axis=(1, 2))


@pytest.mark.parametrize('image_size', [None, 16, 24])
def test_features_are_the_mean_of_the_last_map(
  image_size, tiny, tiny_backbone, tiny_variables
):
  images = _images()
  actual = backbones.features('Tiny', images, image_size=image_size, batch_size=2)
  expected = _by_hand(tiny_backbone, tiny_variables, images, image_size or 16, 'none')
  assert actual.dtype == np.float32
  assert actual.shape == (5, 12)
  np.testing.assert_allclose(actual, expected, atol=1e-5)
  assert tiny == [('Tiny', None)]


@pytest.mark.parametrize('mode', ['imagenet', 'scale'])
def test_preprocessing(mode, tiny, tiny_backbone, tiny_variables, monkeypatch):
  caffe = backbones.Backbone('Tiny', tiny_backbone.layers, preprocessing='caffe')
  monkeypatch.setattr(backbones, 'get', lambda _: caffe)
  actual = features.extract('Tiny', _images(), 'file.h5', preprocess=mode)
  applied = {'imagenet': 'caffe', 'scale': 'none'}[mode]
  expected = _by_hand(tiny_backbone, tiny_variables, _images(), 16, applied)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
  assert tiny == [('Tiny', 'file.h5')]


def test_batch_size_does_not_matter(tiny):
  whole = features.extract('Tiny', _images(), batch_size=5)
  for batch_size in (1, 2, 4, 100):
    part = features.extract('Tiny', _images(), batch_size=batch_size)
    np.testing.assert_allclose(part, whole, atol=1e-6)


def test_batches_have_one_shape_and_the_last_one_is_padded(monkeypatch):
  seen = []

  def run(extractor, images):
    seen.append(images)
    return images[:, 0, 0]

  monkeypatch.setattr(feature_extractor, '_run_batch', run)
  images = _images(7)
  extractor = feature_extractor.make(('SmallConvEncoder',), 'none', 16, 'scale')
  result = feature_extractor.run(extractor, images, 3)
  assert [batch.shape for batch in seen] == [(3, 16, 16, 3)] * 3
  np.testing.assert_array_equal(seen[-1][0], images[6])
  assert not seen[-1][1:].any()
  np.testing.assert_array_equal(result, images[:, 0, 0])


def test_random_weights_are_always_the_same():
  once, again = (
    backbones.features('SmallConvEncoder', _images(3), weights='none') for _ in range(2)
  )
  assert once.shape == (3, 4 * 4 * 32)
  np.testing.assert_array_equal(once, again)


def test_published_weights_give_what_their_authors_network_gives():
  """EfficientNetLite0's weights come with a package."""
  with np.load(GOLDEN) as golden:
    images, expected = golden['images_32'], golden['pooled_32']
  actual = backbones.features('EfficientNetLite0', images)
  np.testing.assert_allclose(actual, expected, atol=1e-4 * expected.max(), rtol=0)


@pytest.mark.parametrize(
  ('images', 'options', 'parts'),
  [
    (_images().astype(np.float32), {}, ('float32 [5, 16, 16, 3]', 'uint8')),
    (_images()[0], {}, ('[16, 16, 3]',)),
    (_images()[..., :1], {}, ('[5, 16, 16, 1]',)),
    (_images()[:0], {}, ('no images',)),
    (_images()[:, :8], {}, ('8 by 16', 'image_size')),
    (_images(), {'image_size': 0}, ('image_size=0',)),
    (_images(), {'batch_size': 0}, ('batch_size=0',)),
    (_images(), {'preprocess': 'caffe'}, ("'caffe'", 'imagenet, scale')),
    (_images(), {'weights': 'nowhere.h5'}, ('no weights file nowhere.h5',)),
  ],
)
def test_what_cannot_be_meant(images, options, parts):
  with pytest.raises(UserError) as caught:
    backbones.features('VGG16', images, **options)
  for part in parts:
    assert part in str(caught.value)
  assert '\n' not in str(caught.value)


def test_backbone_without_published_weights():
  with pytest.raises(UserError, match="set its weights to 'none'"):
    backbones.features('SmallConvEncoder', _images())


def _save(folder, images, names):
  for name, image in zip(names, images, strict=True):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / name)


def test_array_file(tiny, tmp_path):
  np.save(tmp_path / 'images.npy', _images())
  output = tmp_path / 'new' / 'features.npz'
  shape = features.extract_to_file('Tiny', tmp_path / 'images.npy', output)
  assert shape == (5, 12)
  with np.load(output) as file:
    assert set(file) == {'features'}
    np.testing.assert_allclose(
      file['features'], features.extract('Tiny', _images()), atol=1e-6
    )


def test_folder(tiny, tmp_path):
  names = ['b.PNG', 'a.bmp', 'c/a.png', 'c/d/e.tiff', 'a.png']
  _save(tmp_path / 'images', _images(), names)
  for name in ('notes.txt', 'notes.pdf'):
    (tmp_path / 'images' / name).write_text('no image')
  output = tmp_path / 'features.npz'
  features.extract_to_file('Tiny', tmp_path / 'images', output, batch_size=2)
  expected = features.extract('Tiny', _images())
  with np.load(output) as file:
    assert list(file['paths']) == sorted(names)
    order = [names.index(name) for name in file['paths']]
    np.testing.assert_allclose(file['features'], expected[order], atol=1e-6)


def test_folder_of_images_that_differ(tiny, tmp_path):
  grey = np.full((10, 20), 90, np.uint8)
  _save(tmp_path, [_images()[0], grey], ['a.png', 'b.png'])
  with pytest.raises(UserError, match='differ in size: set --image_size'):
    features.extract_to_file('Tiny', tmp_path, tmp_path / 'x.npz')
  assert not (tmp_path / 'x.npz').exists()
  features.extract_to_file('Tiny', tmp_path, tmp_path / 'x.npz', image_size=16)
  same = np.stack([_images()[0], np.full((16, 16, 3), 90, np.uint8)])
  with np.load(tmp_path / 'x.npz') as file:
    np.testing.assert_allclose(
      file['features'], features.extract('Tiny', same), atol=1e-6
    )


def test_image_files_read_only_what_is_asked_for(tmp_path):
  _save(tmp_path, _images(3), ['a.png', 'b.png', 'c.png'])
  paths = [tmp_path / name for name in ('a.png', 'b.png', 'c.png')]
  files = features.ImageFiles(paths)
  paths[2].unlink()
  assert (files.shape, files.dtype) == ((3, 16, 16, 3), np.uint8)
  np.testing.assert_array_equal(files[:2], _images(3)[:2])
  with pytest.raises(UserError, match=r'c\.png'):
    files[2:]


def _not_an_array(folder):
  (folder / 'x.npy').write_text('no array')
  return folder / 'x.npy', 'neither a folder nor a .npy'


def _empty_file(folder):
  (folder / 'x.npy').touch()
  return folder / 'x.npy', 'neither a folder nor a .npy'


def _damaged_header(folder):
  np.save(folder / 'x.npy', _images())
  data = (folder / 'x.npy').read_bytes()
  (folder / 'x.npy').write_bytes(data.replace(b'}', b' '))
  return folder / 'x.npy', 'neither a folder nor a .npy'


def _half_of_several_arrays(folder):
  np.savez(folder / 'x.npz', _images())
  data = (folder / 'x.npz').read_bytes()
  (folder / 'x.npz').write_bytes(data[: len(data) // 2])
  return folder / 'x.npz', 'neither a folder nor a .npy'


def _several_arrays(folder):
  np.savez(folder / 'x.npz', _images(), _images())
  return folder / 'x.npz', 'several arrays'


def _empty_folder(folder):
  return folder, 'no image files'


def _nothing(folder):
  return folder / 'x.npy', 'no file or folder'


def _damaged_image(folder):
  _save(folder, _images(1), ['x.png'])
  (folder / 'x.png').write_bytes((folder / 'x.png').read_bytes()[:-200])
  return folder, 'x.png is damaged'


def _no_image(folder):
  (folder / 'x.jpg').write_text('no image')
  return folder, 'x.jpg is damaged or no image'


@pytest.mark.parametrize(
  'make',
  [
    _not_an_array,
    _empty_file,
    _damaged_header,
    _half_of_several_arrays,
    _several_arrays,
    _empty_folder,
    _nothing,
    _damaged_image,
    _no_image,
  ],
)
def test_images_that_cannot_be_read(make, tiny, tmp_path):
  source, part = make(tmp_path)
  with pytest.raises(UserError, match=part) as caught:
    features.extract_to_file('Tiny', source, tmp_path / 'features.npz')
  assert str(source) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_output_that_cannot_be_written(tiny, tmp_path):
  np.save(tmp_path / 'images.npy', _images())
  with pytest.raises(UserError, match='is a folder'):
    features.extract_to_file('Tiny', tmp_path / 'images.npy', tmp_path)
  with pytest.raises(UserError, match=r'cannot write .*features'):
    features.extract_to_file(
      'Tiny', tmp_path / 'images.npy', tmp_path / 'images.npy' / 'features.npz'
    )


def test_command(run_command, tmp_path):
  _save(tmp_path / 'images', _images(3), ['a.png', 'b.png', 'c.png'])
  result = run_command(
    'egan_jax.features',
    '--backbone=SmallConvEncoder',
    f'--images={tmp_path}/images',
    f'--output={tmp_path}/features.npz',
    '--weights=none',
    '--image_size=8',
    '--preprocess=scale',
    '--batch_size=2',
  )
  assert (result.status, result.stderr) == (0, '')
  assert result.stdout == f'features [3, 128] in {tmp_path}/features.npz\n'
  with np.load(tmp_path / 'features.npz') as file:
    assert file['features'].shape == (3, 2 * 2 * 32)
    assert list(file['paths']) == ['a.png', 'b.png', 'c.png']


@pytest.mark.parametrize(
  ('arguments', 'part'),
  [
    (('--images=x.npy', '--output=x.npz'), '--backbone is missing'),
    (('--backbone=VGG', '--images=.', '--output=x.npz'), 'no image files in .'),
  ],
)
def test_command_refuses_in_one_line(arguments, part, run_command, tmp_path):
  result = run_command('egan_jax.features', *arguments, folder=tmp_path)
  assert (result.status, result.stdout) == (1, '')
  assert result.stderr.startswith('error: ')
  assert result.stderr.count('\n') == 1
  assert part in result.stderr


def test_importing_the_module_defines_no_flags():
  """It is imported by whoever asks for features, and flags are global."""
  from absl import flags

  assert not {'backbone', 'images', 'output'} & set(flags.FLAGS)
