"""Image files of classes, as the user laid them out.

A folder holds `train/CLASS/` and may hold `test/CLASS/`; a CSV file has the columns
`path` (relative to its own folder), `label` and perhaps `split` ('train' or 'test').
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from egan_jax.data import file_lists
from egan_jax.errors import UserError

SPLITS = ('train', 'test')
# What `egan_jax.predict` says of images beside the names of the classes.
NOT_CLASSES = ('abstain', 'unreadable')


@dataclasses.dataclass(frozen=True)
class File:
  """An image file and what it is said to be.

  Attributes:
    path: where it is.
    name: its path within the folder, or as the CSV file has it.
    label: its class.
    split: 'train' or 'test'.
  """

  path: Path
  name: str
  label: str
  split: str


@dataclasses.dataclass(frozen=True)
class Listing:
  """What a folder or CSV file lists.

  Attributes:
    files: of all classes, in the order of the data set.
    labels: of classes with images in training or without any at all.
    ignored: counts of files passed over, by kind.
  """

  files: Sequence[File]
  labels: Sequence[str]
  ignored: collections.Counter


def list_files(data_dir: str) -> Listing:
  """All image files of a folder or CSV file, with class and split.

  Raises:
    UserError: it is neither, or not made as the module says.
  """
  if not data_dir:
    raise UserError(
      'config.data_dir is empty: give a folder with train/CLASS/ in it, or a CSV file'
    )
  path = Path(os.path.expanduser(data_dir))
  try:
    if path.is_dir():
      return _list_folder(path)
    if not path.exists():
      raise UserError(f'there is no folder or CSV file {path}')
    if path.suffix.lower() != '.csv':
      raise UserError(f'{path} is neither a folder nor a .csv file')
    return _list_csv(path)
  except OSError as error:
    raise UserError(f'cannot read {error.filename}: {error.strerror}') from error


def _list_folder(root: Path) -> Listing:
  files, folders, ignored = [], {}, collections.Counter()
  _check_spelling(root, 'folder', SPLITS, _list_class_folders(root))
  for split in SPLITS:
    if not (root / split).is_dir():
      continue
    paths, passed_over = file_lists.walk(root / split)
    ignored += passed_over
    folders[split] = _list_class_folders(root / split)
    for path in paths:
      label = path.relative_to(root / split).parts[0]
      if label in folders[split]:
        files.append(File(path, path.relative_to(root).as_posix(), label, split))
      else:
        ignored['in no class folder'] += 1
  if 'train' not in folders:
    there = ', '.join(_list_class_folders(root)) or 'none'
    raise UserError(
      f'{root} has no folder train (its folders: {there}): put the images into'
      ' train/CLASS/'
    )
  if not folders['train']:
    raise UserError(
      f'{root / "train"} has no class folders: put the images into train/CLASS/'
    )
  tested = {file.label for file in files if file.split == 'test'}
  if 'test' in folders and not tested:
    raise UserError(
      f'{root / "test"} has no images in class folders: fill it, or remove it to have'
      ' some training images held out'
    )
  _check_test(root / 'test', folders['train'], tested)
  return Listing(files, folders['train'], ignored)


def _check_spelling(
  where: Path, kind: str, names: Sequence[str], there: Iterable[str]
) -> None:
  """Raises `UserError` if what would be passed over differs from a name by case."""
  there = [*there]
  for found in there:
    name = found.lower()
    if name in names and name not in there and not (where / name).is_dir():
      raise UserError(f'{where}: the {kind} {found} must be called {name}')


def _list_class_folders(place: Path) -> list[str]:
  return sorted(
    path.name for path in place.iterdir() if path.is_dir() and path.name[0] != '.'
  )


def _check_test(where: Path, train: Sequence[str], test: Iterable[str]) -> None:
  unknown = sorted(set(test) - set(train))
  if unknown:
    raise UserError(
      f'{where} has test images of {", ".join(unknown)}, of which there are no training'
      f' images; the classes in training are {", ".join(train)}'
    )


def _list_csv(path: Path) -> Listing:
  files, missing = [], []
  rows = file_lists.read_csv(path, ('path', 'label'))
  _check_spelling(path, 'column', ['split'], (name or '' for name in rows[0][1]))
  for line, row in rows:
    split = (row.get('split', 'train') or '').strip()
    if split not in SPLITS:
      raise UserError(f'{path} line {line}: split is {split!r}, not train or test')
    place = path.parent / os.path.expanduser(row['path'])
    file = File(place, row['path'], row['label'], split)
    files.append(file)
    if not file.path.exists():
      missing.append(f'{file.name} (line {line})')
  if missing:
    raise UserError(
      f'{path}: {len(missing)} of {len(files)} files are not there, the first'
      f' {missing[0]}; paths are relative to {path.parent}'
    )
  labels = sorted({file.label for file in files if file.split == 'train'})
  if not labels:
    raise UserError(f'{path} has no rows whose split is train')
  _check_test(path, labels, {file.label for file in files if file.split == 'test'})
  return Listing(files, labels, collections.Counter())


def choose_classes(
  listing: Listing, data_dir: str, minority_class: str, majority_class: str
) -> tuple[str, str]:
  """Names of the minority and the majority.

  Args:
    listing: of the files.
    data_dir: where they are, for what is said of mistakes.
    minority_class: the name asked for; empty: fewer training images.
    majority_class: likewise; empty: the other one.

  Raises:
    UserError: there are not two classes to choose, or one of them is empty.
  """
  labels = listing.labels
  there = f'{data_dir} has the classes {", ".join(labels)}'
  asked = [name for name in (minority_class, majority_class) if name]
  for name in asked:
    if name not in labels:
      raise UserError(f'there is no class {name!r}: {there}')
  if len(asked) == 2 and minority_class == majority_class:
    raise UserError(
      f'minority_class and majority_class are both {minority_class!r}: choose two'
    )
  if len(labels) == 1:
    raise UserError(
      f'{data_dir} has only one class in training, {labels[0]!r}: two are needed, the'
      ' rare images in one and the ordinary ones in another'
    )
  if len(labels) > 2 and len(asked) < 2:
    raise UserError(
      f'{there}, which are more than two: choose with --config.minority_class and'
      ' --config.majority_class'
    )
  counts = collections.Counter(f.label for f in listing.files if f.split == 'train')
  pair = asked if len(asked) == 2 else list(labels)
  for name in pair:
    if name in NOT_CLASSES:
      raise UserError(
        f'{data_dir}: no class can be called {name!r}, which is what predict says of an'
        ' image that it puts in no class: rename it'
      )
    if not counts[name]:
      suffixes = ', '.join(suffix[1:] for suffix in file_lists.SUFFIXES)
      raise UserError(f'{data_dir}: class {name!r} has no training images ({suffixes})')
  if not asked:
    few, many = sorted(pair, key=counts.__getitem__)
    if counts[few] == counts[many]:
      raise UserError(
        f'{there} of {counts[few]} training images each: say which one is rare with'
        ' --config.minority_class'
      )
    return few, many
  if len(asked) == 2:
    return minority_class, majority_class
  (other,) = set(labels) - set(asked)
  return (minority_class or other, majority_class or other)
