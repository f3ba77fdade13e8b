"""Two classes of the user's own images, decoded and split."""

import collections
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from egan_jax.data import data_report, image_files, image_storage, labelled_files
from egan_jax.data.data_report import Record
from egan_jax.data.image_files import UnreadableImageError
from egan_jax.data.labelled_files import SPLITS, File, Listing
from egan_jax.data.two_classes import TwoClasses
from egan_jax.errors import UserError

# Without a test split, one image in this many is held out of a class that has at least
# so many.
_HELD_OUT = 5
_ENOUGH = {'minority': 10, 'majority': 5}


def load(
  data_dir: str,
  minority_class: str = '',
  majority_class: str = '',
  image_size: int = 224,
  seed: int = 0,
  strict: bool = False,
) -> TwoClasses:
  """Reads and decodes the files of two classes.

  Of identical training images of a class one is used: a copy would be among the images
  that it is held out from. Without a test split, one image in five of the majority is
  held out as test images, and of the minority if it has at least ten; images under both
  labels stay in training.

  Args:
    data_dir: a folder or a CSV file, as `labelled_files` says.
    minority_class: name of the rare class; empty for the one with fewer training
      images.
    majority_class: name of the ordinary class; empty for the other one.
    image_size: side of the squares that images become, in pixels.
    seed: of the hold-out.
    strict: refuse any unreadable file, rather than more than 1%.

  Returns:
    uint8 images `[N, image_size, image_size, 3]`, with names, paths and the report.
    Indices count the files listed of the two classes in a split.

  Raises:
    UserError: whatever is wrong with the folder, the CSV file or the classes; too many
      unreadable files.
  """
  listing = labelled_files.list_files(data_dir)
  classes = labelled_files.choose_classes(
    listing, data_dir, minority_class, majority_class
  )
  return decode(listing, str(data_dir), classes, image_size, seed, strict)


def decode(
  listing: Listing,
  source: str,
  classes: tuple[str, str],
  image_size: int,
  seed: int = 0,
  strict: bool = False,
) -> TwoClasses:
  """Decodes the files of two classes: what `load` does once they are known.

  Args:
    listing: of the files.
    source: where they are, for the report and for what is said of mistakes.
    classes: names of the minority and the majority.
    image_size: as of `load`, like `seed` and `strict`.
    seed: see there.
    strict: see there.

  Raises:
    UserError: too many unreadable files.
  """
  files = [file for file in listing.files if file.label in classes]
  ignored = listing.ignored
  if len(files) < len(listing.files):
    ignored = {**ignored, 'of other classes': len(listing.files) - len(files)}
  kept, unreadable = [], []
  images = image_storage.keep(
    _decode(files, image_size, kept, unreadable), len(files), image_size
  )
  data_report.check_readable(unreadable, len(files), strict)
  is_minority = np.array([files[i].label == classes[0] for i, _ in kept], bool)
  is_test = np.array([files[i].split == 'test' for i, _ in kept], bool)
  fingerprints = np.array([facts.sha256 for _, facts in kept])
  originals = find_originals(is_minority, is_test, fingerprints)
  is_copy = originals != np.arange(len(kept))
  held_out = all(file.split == 'train' for file in files)
  if held_out:
    file_hashes = np.array([facts.file_sha256 for _, facts in kept])
    columns = is_minority, fingerprints, file_hashes
    is_test[~is_copy] = hold_out(seed, *(column[~is_copy] for column in columns))
    is_test = is_test[originals]
  for label, of_class in zip(classes, (is_minority, ~is_minority), strict=True):
    if not (of_class & ~is_test).any():
      raise UserError(f'{source}: no training image of class {label!r} can be read')

  positions = _count_within_splits(files)
  names = [files[i].name for i, _ in kept]

  def select(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    rows = np.flatnonzero(mask & ~is_copy)
    chosen = image_storage.keep((images[r] for r in rows), len(rows), image_size)
    indices = np.array([positions[kept[row][0]] for row in rows], int)
    return chosen, indices, tuple(names[row] for row in rows)

  minority, minority_indices, minority_paths = select(is_minority & ~is_test)
  majority, majority_indices, majority_paths = select(~is_minority & ~is_test)
  test, test_indices, test_paths = select(is_test)
  return TwoClasses(
    minority=minority,
    majority=majority,
    minority_indices=minority_indices,
    majority_indices=majority_indices,
    test=test,
    test_is_minority=is_minority[is_test & ~is_copy],
    test_indices=test_indices,
    minority_class=classes[0],
    majority_class=classes[1],
    minority_paths=minority_paths,
    majority_paths=majority_paths,
    test_paths=test_paths,
    report=data_report.make(
      source=source,
      minority_class=classes[0],
      majority_class=classes[1],
      records=[
        Record(files[i].name, files[i].label, SPLITS[tested], facts, bool(copied))
        for (i, facts), tested, copied in zip(
          kept, is_test.astype(int), is_copy, strict=True
        )
      ],
      unreadable=unreadable,
      ignored=ignored,
      held_out=held_out,
    ),
  )


def _decode(
  files: Sequence[File], image_size: int, kept: list, unreadable: list
) -> Iterator[np.ndarray]:
  """Yields pixels; appends (position, facts) to one list, (name, reason) to another."""
  results = image_files.map_in_threads(
    lambda path: image_files.inspect(path, image_size), (file.path for file in files)
  )
  bar = tqdm(results, 'decoding', len(files), unit='image', leave=False, disable=None)
  for position, result in enumerate(bar):
    if isinstance(result, UnreadableImageError):
      unreadable.append((files[position].name, result.reason))
    else:
      pixels, facts = result
      kept.append((position, facts))
      yield pixels


def _count_within_splits(files: Iterable[File]) -> list[int]:
  """Where each file stands among those of its split."""
  counts = collections.Counter()
  positions = []
  for file in files:
    positions.append(counts[file.split])
    counts[file.split] += 1
  return positions


def find_originals(
  is_minority: np.ndarray, is_test: np.ndarray, fingerprints: np.ndarray
) -> np.ndarray:
  """Positions int `[N]`: of each training image the first of its class that is identical.

  Of a test image, its own. Arguments are `[N]`.
  """
  first = {}
  keys = zip(is_minority, is_test, fingerprints, strict=True)
  return np.array(
    [i if key[1] else first.setdefault(key, i) for i, key in enumerate(keys)]
  )


def hold_out(
  seed: int,
  is_minority: np.ndarray,
  fingerprints: np.ndarray,
  file_hashes: np.ndarray,
) -> np.ndarray:
  """Bool `[N]`: which images become test images, drawn in each class by itself.

  Args:
    seed: of the draw.
    is_minority: bool `[N]`.
    fingerprints: `[N]`, different within a class; images of both stay in training.
    file_hashes: `[N]`, the same whatever size images are decoded to.
  """
  held = np.zeros(len(is_minority), bool)
  contradicted = np.intersect1d(fingerprints[is_minority], fingerprints[~is_minority])
  # The first two streams of a seed draw the training images.
  streams = np.random.SeedSequence(seed).spawn(4)[2:]
  for stream, role in zip(streams, ('minority', 'majority'), strict=True):
    members = np.flatnonzero(is_minority == (role == 'minority'))
    if len(members) < _ENOUGH[role]:
      continue
    # Whatever order the files came in.
    members = members[np.argsort(file_hashes[members])]
    order = np.random.default_rng(stream).permutation(members)
    free = order[~np.isin(fingerprints[order], contradicted)]
    held[free[: len(members) // _HELD_OUT]] = True
  return held
