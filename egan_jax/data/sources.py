"""Where the images of the two classes come from."""

import contextlib
import io
import types
import urllib.error
import urllib.request
from unittest import mock

import numpy as np
from absl import logging
from PIL import Image
from sklearn import datasets as sklearn_datasets
from sklearn import model_selection

from egan_jax.data import chexpert, image_folder
from egan_jax.data.two_classes import TwoClasses
from egan_jax.errors import UserError

_TFDS_DATASETS = ('cifar10', 'cifar100')
DATASETS = (*_TFDS_DATASETS, 'chexpert', 'digits', 'folder')


def load(
  dataset: str,
  data_dir: str,
  minority_class: int | str,
  majority_class: int | str,
  image_size: int = 224,
  seed: int = 0,
  strict: bool = False,
) -> TwoClasses:
  """Two classes of a data set, in its own train and test split.

  Args:
    dataset: 'cifar10' or 'cifar100' (fine labels) through TFDS, 'chexpert' where TFDS
      wants it, 'digits', the 8x8 digits that come with scikit-learn, grey repeated to
      three channels, or 'folder', the user's own images.
    data_dir: the TFDS data folder; empty for TFDS's default. Of one's own images, the
      folder or CSV file (see `image_folder`). Digits ignore it.
    minority_class: label of the rare class; of a folder its name, or '' for the class
      with fewer images; of CheXpert 1, pneumonia.
    majority_class: label of the ordinary class; of a folder its name, or '' for the
      other one; of CheXpert 0, no pneumonia.
    image_size: side, in pixels, of the squares that images of a folder and of CheXpert
      become; those of the other data sets stay as they are.
    seed: of the test images held out of a folder without any.
    strict: of a folder and of CheXpert: refuse any unreadable file, rather than more
      than 1%.

  Returns:
    uint8 images of the two classes.

  Raises:
    UserError: an unknown data set or label, the same class twice, or a data set
      that is neither prepared nor reachable; a folder or CSV file with a mistake.
  """
  if dataset not in DATASETS:
    raise UserError(f'unknown dataset {dataset!r}: choose one of {", ".join(DATASETS)}')
  if dataset == 'folder':
    return image_folder.load(
      data_dir, str(minority_class), str(majority_class), image_size, seed, strict
    )
  minority, majority = _to_label(minority_class), _to_label(majority_class)
  if minority == majority:
    raise UserError(
      f'minority_class and majority_class are both {minority}: choose two classes'
    )
  if dataset == 'chexpert':
    if (minority, majority) != (1, 0):
      raise UserError(
        'chexpert has one rare class: minority_class=1, which is pneumonia, against'
        ' majority_class=0, as configs/chexpert.py has them'
      )
    return chexpert.load(data_dir, image_size, strict)
  if dataset == 'digits':
    train, test, names = _digits()
  else:
    train, test, names = _tfds(dataset, data_dir, (minority, majority))
  return _select(dataset, train, test, names, minority, majority)


def _to_label(label: int | str) -> int:
  try:
    return int(label)
  except ValueError as error:
    raise UserError(
      f'class {label!r} is no number: only the classes of a folder have names'
    ) from error


def _select(dataset, train, test, names, minority_class, majority_class) -> TwoClasses:
  (train_images, train_labels), (test_images, test_labels) = train, test
  for label in (minority_class, majority_class):
    if not (train_labels == label).any() or not (test_labels == label).any():
      raise UserError(
        f'dataset {dataset!r} has no train and test images of class {label}'
      )
  minority = np.flatnonzero(train_labels == minority_class)
  majority = np.flatnonzero(train_labels == majority_class)
  tested = np.flatnonzero(np.isin(test_labels, (minority_class, majority_class)))
  return TwoClasses(
    minority=_stack(train_images, minority),
    majority=_stack(train_images, majority),
    minority_indices=minority,
    majority_indices=majority,
    test=_stack(test_images, tested),
    test_is_minority=test_labels[tested] == minority_class,
    test_indices=tested,
    minority_class=names[minority_class],
    majority_class=names[majority_class],
  )


def _stack(images, indices) -> np.ndarray:
  return np.stack([images[index] for index in indices])


def _digits():
  """scikit-learn's digits, 40% of each class held out for the test."""
  images, labels = sklearn_datasets.load_digits(return_X_y=True)
  images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
  images = np.repeat(images, 3, axis=-1)
  train, test = model_selection.train_test_split(
    np.arange(len(labels)), test_size=0.4, stratify=labels, random_state=0
  )
  names = [str(digit) for digit in range(10)]
  return (images[train], labels[train]), (images[test], labels[test]), names


def _tfds(dataset: str, data_dir: str, classes: tuple[int, ...]):
  # Imported here because it is slow and the other sources do without.
  import tensorflow_datasets as tfds
  from google.protobuf import json_format

  try:
    builder = tfds.builder(
      dataset, data_dir=data_dir or None, file_format='array_record'
    )
  except (OSError, ValueError, json_format.ParseError) as error:
    raise UserError(
      f'{dataset} in {data_dir or "the TFDS data folder"} is in another format than'
      f' ArrayRecord, or damaged: set config.data_dir to another folder'
      f' ({_in_one_line(error)})'
    ) from error
  # TFDS warns of a folder that does not exist when asked whether it is prepared.
  if not builder.data_path.exists() or not builder.is_prepared():
    _prepare(builder, dataset)
  try:
    train, test = (
      _read_split(tfds, builder, split, classes) for split in ('train', 'test')
    )
    return train, test, builder.info.features['label'].names
  except (OSError, RuntimeError) as error:
    raise UserError(
      f'{dataset} in {builder.data_dir} is damaged: delete that folder to prepare it'
      f' again ({_in_one_line(error)})'
    ) from error


def _read_split(tfds, builder, split: str, classes: tuple[int, ...]):
  """The labels of a split and the decoded images of the classes asked for."""
  source = builder.as_data_source(
    split=split, decoders={'image': tfds.decode.SkipDecoding()}
  )
  labels, images = [], {}
  for index, example in enumerate(source):
    labels.append(int(example['label']))
    if labels[-1] in classes:
      images[index] = np.asarray(Image.open(io.BytesIO(example['image'])))
  return images, np.array(labels)


def _prepare(builder, dataset: str) -> None:
  """Downloads and prepares a data set with TFDS, without TensorFlow."""
  where = f'{dataset} is not prepared in {builder.data_dir}'
  for url in builder.url_infos:
    if not _reachable(url):
      raise UserError(
        f'{where} and {url} cannot be reached: connect to the network, or set'
        ' config.data_dir to a TFDS data folder that holds it in ArrayRecord format'
      )
  logging.info('%s: preparing it with TFDS', where)
  with _stand_in_for_tensorflow():
    try:
      builder.download_and_prepare(file_format='array_record')
    except _preparation_failures() as error:
      raise UserError(
        f'{where} and preparing it failed: {_in_one_line(error)}'
      ) from error


def _preparation_failures() -> tuple[type[Exception], ...]:
  """What TFDS raises for a network, an archive or a disk that fails."""
  from tensorflow_datasets.core.download import download_manager, extractor, util

  return (
    OSError,
    util.DownloadError,
    download_manager.NonMatchingChecksumError,
    extractor.ExtractError,
  )


def _in_one_line(error: Exception) -> str:
  return ' '.join(str(error).split())


def _reachable(url: str) -> bool:
  """Whether a server answers: TFDS itself retries for minutes before it fails."""
  try:
    request = urllib.request.Request(url, method='HEAD')
    with urllib.request.urlopen(request, timeout=10):
      return True
  except urllib.error.HTTPError:
    return True
  except OSError:
    return False


@contextlib.contextmanager
def _stand_in_for_tensorflow():
  """Lets TFDS prepare a CIFAR data set without TensorFlow.

  It takes it to open files, to read the names in an archive and to encode images
  as PNG, which its own code for Pillow does as well.
  """
  from tensorflow_datasets.core.download import extractor
  from tensorflow_datasets.core.features import image_feature
  from tensorflow_datasets.image_classification import cifar

  tensorflow = types.SimpleNamespace(
    io=types.SimpleNamespace(gfile=types.SimpleNamespace(GFile=open)),
    compat=types.SimpleNamespace(as_text=str),
  )

  def encode(encoder, image):
    return encoder._encode_pil_image(Image.fromarray(image))

  with (
    mock.patch.object(cifar, 'tf', tensorflow),
    mock.patch.object(extractor, 'tf', tensorflow),
    mock.patch.object(image_feature._ImageEncoder, '_encode_image', encode),
  ):
    yield
