"""What a folder of images holds, before anything is trained on it."""

import collections
import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from egan_jax.data.image_files import ImageFacts
from egan_jax.errors import UserError

# Kinds of duplicates and what they mean.
DUPLICATES = {
  'within_train': 'identical in training, used once',
  'within_test': 'identical in test, each counted',
  'across_classes': 'identical under both labels',
  'across_train_and_test': 'identical in train and test (leaks)',
}
NEARLY_BLACK = 'nearly black (scale up what uses 12 bits of 16)'
_TOLERATED = 0.01  # the share of unreadable files that a run survives
_QUARTER_OF_WHITE = 64  # of 255; 12 bits in a file of 16 stay below
_MAX_EXAMPLES = 10  # groups of duplicates listed, and names in each list


@dataclasses.dataclass(frozen=True)
class Record:
  """A file that was decoded.

  Attributes:
    name: its path as the data set names it.
    label: its class.
    split: 'train' or 'test'.
    facts: what it was.
    is_copy: whether it is left out because an identical one is used.
  """

  name: str
  label: str
  split: str
  facts: ImageFacts
  is_copy: bool = False


def make(
  source: str,
  minority_class: str,
  majority_class: str,
  records: Sequence[Record],
  unreadable: Sequence[tuple[str, str]],
  ignored: Mapping[str, int],
  held_out: bool,
) -> dict[str, Any]:
  """The report, of plain values that JSON can hold.

  Args:
    source: the folder or CSV file.
    minority_class: name of the rare class.
    majority_class: name of the ordinary class.
    records: of the decoded files, one at least.
    unreadable: name and reason of every other file of the two classes.
    ignored: counts of files passed over, by kind.
    held_out: whether the test images were taken out of the training images.

  Returns:
    'source', 'minority_class', 'majority_class' and 'test_is_held_out' as given;
    'counts': images by split ('train', 'test') and class, without copies; 'ratio':
    training images of the majority per one of the minority, None without one; 'width'
    and 'height': 'min', 'median' and 'max' in pixels; 'modes': files by Pillow's mode;
    'nearly_black': number of 'images' without a pixel of a quarter of white, and
    'examples' of names; 'duplicates': files of identical pixels, 'within_train' and
    'within_test' (copies in one class), 'across_classes' and 'across_train_and_test'
    (leaks), each with the number of 'groups', the number of 'images' in them, and
    'examples' of names; 'unreadable': a list of 'path' and 'reason'; 'ignored' as given.
  """
  counts = {
    split: {
      label: sum(
        r.split == split and r.label == label and not r.is_copy for r in records
      )
      for label in (minority_class, majority_class)
    }
    for split in ('train', 'test')
  }
  train = counts['train']
  nearly_black = [r.name for r in records if r.facts.brightest < _QUARTER_OF_WHITE]
  return {
    'source': source,
    'minority_class': minority_class,
    'majority_class': majority_class,
    'test_is_held_out': held_out,
    'counts': counts,
    'ratio': (
      train[majority_class] / train[minority_class] if train[minority_class] else None
    ),
    'width': _summarise([r.facts.width for r in records]),
    'height': _summarise([r.facts.height for r in records]),
    'modes': dict(collections.Counter(r.facts.mode for r in records).most_common()),
    'nearly_black': {
      'images': len(nearly_black),
      'examples': nearly_black[:_MAX_EXAMPLES],
    },
    'duplicates': _find_duplicates(records),
    'unreadable': [{'path': name, 'reason': reason} for name, reason in unreadable],
    'ignored': dict(ignored),
  }


def _summarise(values: Sequence[int]) -> dict[str, float]:
  return {
    'min': min(values),
    'median': float(np.median(values)),
    'max': max(values),
  }


def _find_duplicates(records: Iterable[Record]) -> dict[str, Any]:
  by_pixels = collections.defaultdict(list)
  for record in records:
    by_pixels[record.facts.sha256].append(record)
  groups = [group for group in by_pixels.values() if len(group) > 1]
  within_train, within_test = [], []
  for group in groups:
    alike = collections.defaultdict(list)
    for record in group:
      alike[record.label, record.split].append(record)
    within_train += [same for same in alike.values() if any(r.is_copy for r in same)]
    within_test += [
      same
      for (_, split), same in alike.items()
      if split == 'test' and sum(not r.is_copy for r in same) > 1
    ]
  return {
    'within_train': _describe_groups(within_train),
    'within_test': _describe_groups(within_test),
    'across_classes': _describe_groups(
      [group for group in groups if len({r.label for r in group}) > 1]
    ),
    'across_train_and_test': _describe_groups(
      [group for group in groups if len({r.split for r in group}) > 1]
    ),
  }


def _describe_groups(groups: Sequence[Sequence[Record]]) -> dict[str, Any]:
  return {
    'groups': len(groups),
    'images': sum(map(len, groups)),
    'examples': [
      [record.name for record in group[:_MAX_EXAMPLES]]
      for group in groups[:_MAX_EXAMPLES]
    ],
  }


def check_readable(
  unreadable: Sequence[tuple[str, str]], num_files: int, strict: bool
) -> None:
  """Refuses files of which too many cannot be read.

  Args:
    unreadable: name and reason of each.
    num_files: of the two classes, readable or not.
    strict: refuse a single one, rather than more than 1%.

  Raises:
    UserError: it says how many, and which file has the list.
  """
  if len(unreadable) <= (0 if strict else _TOLERATED * num_files):
    return
  why = 'config.strict is set' if strict else f'more than {_TOLERATED:.0%}'
  name, reason = unreadable[0]
  raise UserError(
    f'{len(unreadable)} of {num_files} images cannot be read ({why}): mend or remove'
    f' them; {_write_list(unreadable)}, the first: {name} {reason}'
  )


def _write_list(unreadable: Sequence[tuple[str, str]]) -> str:
  """Says where it is, or why it is nowhere."""
  try:
    with tempfile.NamedTemporaryFile(
      'w',
      encoding='utf-8',
      errors='surrogateescape',  # the names as they are
      prefix='egan_jax_unreadable_',
      suffix='.txt',
      delete=False,
    ) as file:
      file.writelines(f'{name} {reason}\n' for name, reason in unreadable)
  except OSError as error:
    return f'a list of them cannot be written ({error.strerror})'
  return f'{file.name} lists them'


def describe(report: Mapping[str, Any]) -> str:
  """The report of `make` as lines of text for a terminal."""
  lines = [f'images of {report["source"]}', *_describe_counts(report)]
  width, height = report['width'], report['height']
  sizes = ', '.join(
    f'{name} {width[name]:g} x {height[name]:g}' for name in ('min', 'median', 'max')
  )
  modes = ', '.join(f'{count} {mode}' for mode, count in report['modes'].items())
  lines += [f'  width x height: {sizes}', f'  modes: {modes}']
  if nearly_black := report['nearly_black']['images']:
    example = report['nearly_black']['examples'][0]
    lines.append(f'  {nearly_black} {NEARLY_BLACK}, such as {example}')
  lines += _describe_duplicates(report['duplicates'])
  if report['unreadable']:
    lines.append(f'  {len(report["unreadable"])} unreadable, left out:')
    lines += [f'    {file["path"]} {file["reason"]}' for file in report['unreadable']]
  if any(report['ignored'].values()):
    ignored = ', '.join(f'{count} {kind}' for kind, count in report['ignored'].items())
    lines.append(f'  files ignored: {ignored}')
  return '\n'.join(lines)


def _describe_counts(report: Mapping[str, Any]) -> list[str]:
  minority, majority = report['minority_class'], report['majority_class']
  counts = report['counts']
  width = max(len('minority'), len(minority), len(majority))
  lines = [f'  {"":{width}}   {"":8}  {"train":>7}  {"test":>7}']
  for label, role in ((minority, 'minority'), (majority, 'majority')):
    train, test = counts['train'][label], counts['test'][label]
    lines.append(f'  {label:{width}}   {role:8}  {train:7}  {test:7}')
  if report['ratio'] is not None:
    lines.append(f'  one minority image to {report["ratio"]:.3g} majority images')
    if report['ratio'] < 1:
      lines.append(
        f'  {minority} was asked for as the minority and is not the rarer class:'
        ' config.minority_class names the rare one'
      )
  if report['test_is_held_out']:
    lines.append('  there is no test split: these test images are held out of train')
  missing = [label for label in (minority, majority) if not counts['test'][label]]
  if missing:
    lines.append(
      f'  no test images of {" and ".join(missing)}: metrics cannot be computed'
    )
  return lines


def _describe_duplicates(duplicates: Mapping[str, Any]) -> list[str]:
  lines = []
  for kind, meaning in DUPLICATES.items():
    found = duplicates[kind]
    if found['groups']:
      example = ' = '.join(found['examples'][0])
      lines.append(f'  {found["images"]} images {meaning}, such as {example}')
  return lines or ['  no two images are identical']
