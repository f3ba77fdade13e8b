"""Which files there are: in folders, and in CSV files that name them."""

import collections
import csv
import os
from collections.abc import Sequence
from pathlib import Path

from egan_jax.errors import UserError

# Of image files; case does not matter.
SUFFIXES = ('.png', '.jpg', '.jpeg', '.jfif', '.jpe', '.webp', '.bmp', '.tif', '.tiff')


def walk(folder: Path) -> tuple[list[Path], collections.Counter]:
  """Image files in a folder and below, sorted, and how many others there are.

  Returns:
    Paths, and counts of files passed over: 'hidden', and the others by suffix.

  Raises:
    UserError: a folder may not be read.
  """

  def refuse(error: OSError):
    raise UserError(f'cannot read the folder {error.filename}: {error.strerror}')

  paths, ignored = [], collections.Counter()
  above = {os.fspath(folder): {os.path.realpath(folder)}}
  for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
    # Links to folders are followed, but not in circles.
    real = {name: os.path.realpath(os.path.join(place, name)) for name in folders}
    folders[:] = [name for name in folders if real[name] not in above[place]]
    for name in folders:
      above[os.path.join(place, name)] = above[place] | {real[name]}
    hidden = any(p.startswith('.') for p in Path(place).relative_to(folder).parts)
    for name in files:
      if hidden or name.startswith('.'):
        ignored['hidden'] += 1
      elif (suffix := Path(name).suffix.lower()) in SUFFIXES:
        paths.append(Path(place, name))
      else:
        ignored[suffix or 'without a suffix'] += 1
  return sorted(paths), ignored


def read_csv(
  path: Path, columns: Sequence[str], may_be_empty: Sequence[str] = ()
) -> list[tuple[int, dict[str, str]]]:
  """Rows of a CSV file with the number of the line each ends on, without outer blanks.

  Args:
    path: of the file.
    columns: that it must have, with something in every row.
    may_be_empty: that it must have as well.

  Raises:
    UserError: the first line does not name the columns or names one twice, a row leaves
      one empty that may not be, there are no rows, or it is no CSV file in UTF-8.
  """
  try:
    with open(path, encoding='utf-8-sig', newline='') as file:
      reader = csv.DictReader(file, skipinitialspace=True, strict=True)
      names = [(name or '').strip() for name in reader.fieldnames or ()]
      reader.fieldnames = names
      needed = *columns, *may_be_empty
      if not {*needed} <= {*names}:
        raise UserError(
          f'{path}: the first line must name the columns {",".join(needed)},'
          f' separated by commas, but it is {",".join(names)[:80]!r}'
        )
      for name in filter(None, names):
        if names.count(name) > 1:
          raise UserError(f'{path}: the first line names the column {name} twice')
      rows = [(reader.line_num, row) for row in reader]
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path} is no CSV file in UTF-8: {error}') from error
  for line, row in rows:
    for column in needed:
      row[column] = (row[column] or '').strip()
      if not row[column] and column in columns:
        raise UserError(f'{path} line {line}: {column} is empty')
  if not rows:
    raise UserError(f'{path} names no images')
  return rows
