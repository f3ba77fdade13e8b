"""CheXpert where TFDS wants it: which images are used, as what, and what is refused."""

import collections
import csv

import numpy as np
import pytest
from PIL import Image

from egan_jax.data import chexpert, sources
from egan_jax.data.image_files import decode
from egan_jax.errors import UserError

SIZE = 8
COLUMNS = (
  *('Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA'),
  *('No Finding', 'Enlarged Cardiomediastinum', 'Cardiomegaly', 'Lung Opacity'),
  *('Lung Lesion', 'Edema', 'Consolidation', 'Pneumonia', 'Atelectasis'),
  *('Pneumothorax', 'Pleural Effusion', 'Pleural Other', 'Fracture'),
  'Support Devices',
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
  monkeypatch.setattr(chexpert, 'NUM_TEST', 3)
  monkeypatch.setattr(chexpert, 'NUM_TRAIN', 8)


def _name(patient, study, view, position='frontal'):
  study = f'{chexpert.FOLDER}/train/patient{patient:05}/study{study}'
  return f'{study}/view{view}_{position}.jpg'


def _row(name, label, view='Frontal'):
  row = dict.fromkeys(COLUMNS, '')
  # What says nothing of pneumonia: of other columns nothing must be read.
  row |= {'Path': name, 'Age': '1', 'Frontal/Lateral': view, 'Consolidation': '1.0'}
  return {**row, 'Pneumonia': label}


def _make_rows(seed=0, num_patients=60):
  """Patients with one to three studies of one or two images; a label a study."""
  rng = np.random.default_rng(seed)
  rows = []
  for patient in range(num_patients):
    for study in range(rng.integers(1, 4)):
      label = rng.choice(['1.0', '0.0', '', '-1.0'], p=[0.3, 0.1, 0.4, 0.2])
      rows.append(_row(_name(patient, study, 1), label))
      if rng.random() < 0.3:
        rows.append(_row(_name(patient, study, 2, 'lateral'), label, 'Lateral'))
  return rows


def _write(data_dir, rows, images=True):
  manual = data_dir / 'downloads' / 'manual'
  table = manual / chexpert.FOLDER / 'train.csv'
  table.parent.mkdir(parents=True, exist_ok=True)
  with open(table, 'w', newline='') as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  for number, row in enumerate(rows if images else ()):
    path = manual / row['Path']
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (12, 10), np.uint8)
    Image.fromarray(pixels).save(path)
  return manual


def _split(listing):
  return [
    [file for file in listing.files if (file.label, file.split) == kind]
    for kind in (
      (chexpert.MINORITY, 'train'),
      (chexpert.MAJORITY, 'train'),
      (chexpert.MINORITY, 'test'),
      (chexpert.MAJORITY, 'test'),
    )
  ]


def _patient(name):
  return name.split('/')[2]


def test_place_files_and_labels_are_those_of_tfds(tmp_path, monkeypatch):
  from tensorflow_datasets import builder
  from tensorflow_datasets.core import constants, download
  from tensorflow_datasets.image_classification import chexpert as theirs

  rows = _make_rows()
  manual = _write(tmp_path, rows, images=False)
  assert f'{chexpert.FOLDER}/train.csv' == theirs._TRAIN_LABELS_FNAME
  manager = builder('chexpert', data_dir=tmp_path)._make_download_manager(
    download_dir=None, download_config=download.DownloadConfig()
  )
  assert chexpert.find_manual_folder(str(tmp_path)) == manual
  assert manager.manual_dir == manual
  monkeypatch.setattr(constants, 'DATA_DIR', str(tmp_path))
  assert chexpert.find_manual_folder('') == manual

  # The builder's examples, of which every label stands at the place of its column.
  examples = dict(
    theirs.Chexpert._generate_examples(
      None, str(manual), str(manual / theirs._TRAIN_LABELS_FNAME)
    )
  )
  place = COLUMNS[5:].index('Pneumonia')
  listing = chexpert.list_files(str(tmp_path))
  for file in listing.files:
    example = examples[file.name]
    assert str(file.path) == example['image']
    positive = example['label'][place] == 'positive'
    assert file.label == (chexpert.MINORITY if positive else chexpert.MAJORITY)
    assert example['label'][place] != 'uncertain'
    assert example['image_view'] == 'frontal'


@pytest.mark.parametrize('seed', range(10))
def test_a_study_is_a_sample_and_no_patient_is_on_both_sides(seed, tmp_path):
  rows = _make_rows(seed)
  _write(tmp_path, rows, images=False)
  listing = chexpert.list_files(str(tmp_path))
  parts = _split(listing)
  assert [len(part) for part in parts] == [8, 8, 3, 3]
  names = [file.name for file in listing.files]
  assert names == [row['Path'] for row in rows if row['Path'] in names]
  assert len({name.rsplit('/', 1)[0] for name in names}) == len(names)
  trained, tested = (
    {_patient(file.name) for part in parts[i : i + 2] for file in part} for i in (0, 2)
  )
  assert not trained & tested

  studies = {row['Path'].rsplit('/', 1)[0]: row['Pneumonia'] for row in rows}
  uncertain = sum(label == '-1.0' for label in studies.values())
  assert listing.ignored == {
    'further images of a study': len(rows) - len(studies),
    'of uncertain studies': uncertain,
    'of studies that were not drawn': len(studies) - uncertain - 22,
  }


def test_training_draws_from_all_that_are_left(tmp_path, monkeypatch):
  """Without a bound every labelled study of a patient who is not tested is used."""
  monkeypatch.setattr(chexpert, 'NUM_TRAIN', 10_000)
  rows = _make_rows()
  _write(tmp_path, rows, images=False)
  listing = chexpert.list_files(str(tmp_path))
  tested = {_patient(file.name) for file in listing.files if file.split == 'test'}
  expected = collections.Counter(
    row['Pneumonia'] == '1.0'
    for row in rows
    if 'view1' in row['Path']
    and row['Pneumonia'] != '-1.0'
    and _patient(row['Path']) not in tested
  )
  minority, majority, *_ = _split(listing)
  assert (len(minority), len(majority)) == (expected[True], expected[False])


def test_the_frontal_image_stands_for_its_study(tmp_path):
  rows = []
  for patient in range(30):
    label = '1.0' if patient % 2 else ''
    rows.append(_row(_name(patient, 1, 1, 'lateral'), label, 'Lateral'))
    if patient % 3:  # of the others the lateral is all there is
      rows += [_row(_name(patient, 1, view), label) for view in (2, 3)]
  _write(tmp_path, rows, images=False)
  files = chexpert.list_files(str(tmp_path)).files
  assert {int(_patient(file.name)[7:]) % 3 == 0 for file in files} == {True, False}
  for file in files:
    lateral = int(_patient(file.name)[7:]) % 3 == 0
    assert file.path.stem == ('view1_lateral' if lateral else 'view2_frontal')


def test_images_are_decoded_and_the_test_is_of_no_seed(tmp_path):
  manual = _write(tmp_path, _make_rows())
  classes, again = (
    sources.load('chexpert', str(tmp_path), 1, 0, SIZE, seed=seed) for seed in (0, 1)
  )
  assert (classes.minority_class, classes.majority_class) == (
    'pneumonia',
    'no pneumonia',
  )
  assert classes.minority.shape == classes.majority.shape == (8, SIZE, SIZE, 3)
  assert classes.test_is_minority.sum() == 3 and len(classes.test) == 6
  for images, paths in (
    (classes.minority, classes.minority_paths),
    (classes.majority, classes.majority_paths),
    (classes.test, classes.test_paths),
  ):
    for image, path in zip(images, paths, strict=True):
      np.testing.assert_array_equal(image, decode(manual / path, SIZE))
  assert not classes.report['test_is_held_out']
  assert classes.test_paths == again.test_paths
  np.testing.assert_array_equal(classes.majority, again.majority)


def _message(function, *arguments):
  with pytest.raises(UserError) as caught:
    function(*arguments)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_what_is_not_there(tmp_path, monkeypatch):
  manual = tmp_path / 'downloads' / 'manual'
  assert not chexpert.is_there(str(tmp_path))
  message = _message(chexpert.list_files, str(tmp_path))
  assert f'no CheXpert-v1.0-small/train.csv in {manual}' in message
  assert 'https://' in message and 'config.data_dir' in message

  manual = _write(tmp_path, _make_rows())
  assert chexpert.is_there(str(tmp_path))
  monkeypatch.setenv('HOME', str(tmp_path.parent))
  assert chexpert.is_there(f'~/{tmp_path.name}')
  for image in manual.glob('*/train/*/*/*.jpg'):
    image.unlink()
  message = _message(chexpert.load, str(tmp_path), SIZE)
  assert '22 of 22 images cannot be read' in message and 'is missing' in message


@pytest.mark.parametrize(
  ('rows', 'parts'),
  [
    ([{'Path': 'a', 'Frontal/Lateral': 'b'}], ['must name', 'Pneumonia']),
    ([_row('', '1.0')], ['line 2: Path is empty']),
    (
      [_row(_name(0, 1, 1), '1.0'), _row(_name(1, 1, 1), '2')],
      ["line 3: Pneumonia is '2'", '1.0, 0.0, -1.0 or empty'],
    ),
    ([_row('view1.jpg', '')], ['line 2', "'view1.jpg'", 'PATIENT/STUDY/IMAGE']),
    (
      [_row(_name(p, 1, 1), '1.0' if p < 3 else '') for p in range(20)],
      ['3 studies of pneumonia', '3 are for the test'],
    ),
    # More, but all of one patient.
    (
      [_row(_name(max(6, p), p, 1), '1.0' if p < 6 else '') for p in range(20)],
      ['6 studies of pneumonia', 'none of another patient'],
    ),
  ],
)
def test_tables_with_mistakes(rows, parts, tmp_path):
  manual = _write(tmp_path, rows, images=False)
  message = _message(chexpert.list_files, str(tmp_path))
  for part in [str(manual / chexpert.FOLDER / 'train.csv'), *parts]:
    assert part in message


@pytest.mark.parametrize('labels', [(0, 1), (1, 2), ('1', '2')])
def test_pneumonia_is_the_rare_class(labels, tmp_path):
  message = _message(sources.load, 'chexpert', str(tmp_path), *labels)
  assert 'minority_class=1, which is pneumonia' in message
