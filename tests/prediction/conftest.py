import pytest
from PIL import Image

from tests.small_models import make_bundle, make_images


@pytest.fixture(scope='module')
def model(tiny_backbone, tiny_variables):
  return make_bundle(tiny_backbone, tiny_variables)


@pytest.fixture
def files(tmp_path):
  """The same 23 images as lossless files, in an order that is not that of names."""
  (tmp_path / 'images').mkdir()
  paths = []
  for number, image in enumerate(make_images(23)):
    path = tmp_path / 'images' / f'{(number * 7) % 23:02d} ä,".png'
    Image.fromarray(image).save(path)
    paths.append(path)
  return paths
