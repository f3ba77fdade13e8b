"""Pneumonia in CheXpert, from the folder that TensorFlow Datasets has one fill by hand.

Who may have CheXpert signs for it, so TFDS downloads nothing: it wants the directory
`CheXpert-v1.0-small` (`train.csv`, and the images that it names) in `downloads/manual`
of its data folder. There it is read from, file by file as any folder of images is.
TFDS's own builder would copy more than 220,000 images, of which some 15,000 are used,
gives their labels without the names of what they are of, and takes TensorFlow to look
for the folder.

The paper (section 3.3, Table 6) counts 4,576 minority and 167,407 majority samples. By
their number they are taken to be the *studies* of its source (Irvin et al., "CheXpert",
2019) with and without pneumonia: positive against negative or not mentioned, which was
not checked against the files. Uncertain studies (-1) are in neither. So a sample here is
a study, of which the first frontal image is taken.

The test is 1,000 studies of each class, as in the paper. They are drawn from
`train.csv`, because `valid.csv` has only 200 studies, and once for all seeds. Studies
of a patient who is in the test are not trained on.
"""

import collections
import dataclasses
import os
from pathlib import Path

import numpy as np

from egan_jax.data import file_lists, image_folder
from egan_jax.data.labelled_files import File, Listing
from egan_jax.data.two_classes import TwoClasses
from egan_jax.errors import UserError

FOLDER = 'CheXpert-v1.0-small'
MINORITY, MAJORITY = 'pneumonia', 'no pneumonia'

# Studies of each class: of the test, and at most of those that training draws from. All
# of them, decoded at 224 px, would take 26 GB.
NUM_TEST = 1_000
NUM_TRAIN = 10_000

_OBSERVATION = 'Pneumonia'
_VIEW = 'Frontal/Lateral'
# Of `train.csv`; empty is not mentioned, None uncertain.
_LABELS = {'1.0': MINORITY, '0.0': MAJORITY, '': MAJORITY, '-1.0': None}


@dataclasses.dataclass(frozen=True)
class _Study:
  """The image of a study: its path as `train.csv` has it, and the study's label."""

  name: str
  patient: str
  label: str | None
  is_frontal: bool


def find_manual_folder(data_dir: str) -> Path:
  """Where TFDS looks for what it cannot download; empty for its default data folder."""
  if not data_dir:
    # Imported here because it is slow.
    from tensorflow_datasets.core import constants

    data_dir = constants.DATA_DIR
  return Path(os.path.expanduser(data_dir)) / 'downloads' / 'manual'


def is_there(data_dir: str) -> bool:
  """Whether CheXpert is where TFDS wants it."""
  return (find_manual_folder(data_dir) / FOLDER / 'train.csv').is_file()


def load(data_dir: str, image_size: int = 224, strict: bool = False) -> TwoClasses:
  """Pneumonia, the minority, and no pneumonia.

  Args:
    data_dir: TFDS's data folder; empty for its default.
    image_size: side of the squares that images become, in pixels.
    strict: refuse any unreadable file, rather than more than 1%.

  Returns:
    uint8 images `[N, image_size, image_size, 3]` as of `image_folder.load`. Of each
    class at most `NUM_TRAIN` to train on, and `NUM_TEST` of the test.

  Raises:
    UserError: the folder is not there, or not what it should be; too many images
      cannot be read.
  """
  source = find_manual_folder(data_dir) / FOLDER
  listing = list_files(data_dir)
  return image_folder.decode(
    listing, str(source), (MINORITY, MAJORITY), image_size, strict=strict
  )


def list_files(data_dir: str) -> Listing:
  """The images that are used, an image a study, in the order of `train.csv`.

  Raises:
    UserError: there is no such file, it is damaged, or has too few studies.
  """
  manual = find_manual_folder(data_dir)
  if not is_there(data_dir):
    raise UserError(
      f'there is no {FOLDER}/train.csv in {manual}: CheXpert is had by signing for it'
      ' at https://stanfordmlgroup.github.io/competitions/chexpert/, and TFDS wants the'
      f' directory {FOLDER} there (config.data_dir is the folder of downloads/)'
    )
  table = manual / FOLDER / 'train.csv'
  studies, num_images = _read_studies(table)
  chosen = _draw(studies, table)
  labelled = sum(study.label is not None for study in studies)
  return Listing(
    files=[
      File(manual / study.name, study.name, study.label, chosen[study.name])
      for study in studies
      if study.name in chosen
    ],
    labels=[MAJORITY, MINORITY],
    ignored=collections.Counter(
      {
        'further images of a study': num_images - len(studies),
        'of uncertain studies': len(studies) - labelled,
        'of studies that were not drawn': labelled - len(chosen),
      }
    ),
  )


def _read_studies(table: Path) -> tuple[list[_Study], int]:
  """One image for each study, and how many images there are."""
  rows = file_lists.read_csv(table, ('Path', _VIEW), may_be_empty=(_OBSERVATION,))
  studies = {}
  for line, row in rows:
    label = row[_OBSERVATION]
    if label not in _LABELS:
      known = ', '.join(filter(None, _LABELS))
      raise UserError(
        f'{table} line {line}: {_OBSERVATION} is {label!r}, not {known} or empty'
      )
    try:
      *_, patient, study, _ = row['Path'].split('/')
    except ValueError as error:
      raise UserError(
        f'{table} line {line}: {row["Path"]!r} is not .../PATIENT/STUDY/IMAGE'
      ) from error
    is_frontal = row[_VIEW] == 'Frontal'
    before = studies.get((patient, study))
    if before is None or (is_frontal and not before.is_frontal):
      studies[patient, study] = _Study(row['Path'], patient, _LABELS[label], is_frontal)
  return list(studies.values()), len(rows)


def _draw(studies: list[_Study], table: Path) -> dict[str, str]:
  """The split of each study that is used, by the name of its image."""
  by_label = {MINORITY: [], MAJORITY: []}
  for index in np.random.default_rng(0).permutation(len(studies)):
    if studies[index].label is not None:
      by_label[studies[index].label].append(studies[index])
  test = [study for of_class in by_label.values() for study in of_class[:NUM_TEST]]
  tested = {study.patient for study in test}
  chosen = {study.name: 'test' for study in test}
  for label, of_class in by_label.items():
    train = [s for s in of_class[NUM_TEST:] if s.patient not in tested][:NUM_TRAIN]
    if not train:
      raise UserError(
        f'{table} has {len(of_class)} studies of {label}: {NUM_TEST} are for the test,'
        ' and none of another patient is left to train on'
      )
    chosen |= {study.name: 'train' for study in train}
  return chosen
