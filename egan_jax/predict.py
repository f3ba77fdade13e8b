"""Decisions for new images by a finished model: a command and a library call.

  python -m egan_jax.predict --model=RUN_OR_BUNDLE --images=PATH --output=scores.csv

Images are a file, a folder, or a CSV file with a column `path`. An image that cannot
be read gets a row that says why, and the command then ends with status 2. With
--abstain=SPECIFICITY a class is named only where the model can promise it. The library
call is `Predictor`, on arrays and paths.
"""

import collections
import contextlib
import csv
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

from egan_jax import bundle as model_bundle
from egan_jax import command_line, run_files
from egan_jax.bundle import files
from egan_jax.data import image_files
from egan_jax.errors import UserError
from egan_jax.predictor import (
  ABSTAIN,
  BATCH_SIZE,
  UNREADABLE,
  Paths,
  Predictions,
  Predictor,
)

COLUMNS = ('path', 'score', 'p_minority', 'decision', 'threshold', 'error')
# One more if the model may abstain: it does from `threshold` to below this.
MAJORITY_FROM = 'majority_from'


def predict_to_file(
  predictor: Predictor,
  paths: Paths,
  output: str | os.PathLike,
  names: Sequence[str] | None = None,
) -> tuple[collections.Counter, list[int]]:
  """Writes a CSV file of `COLUMNS`, a row per image, whole or not at all.

  If the predictor may abstain, a last column is `MAJORITY_FROM`.

  Args:
    predictor: the model.
    paths: of the images, any number.
    output: the file to write; an older one is replaced when all rows are there.
    names: what the images are called there; by default their paths.

  Returns:
    How many images each decision was made for, and the positions of those read.

  Raises:
    UserError: the file cannot be written.
  """
  counts, readable = collections.Counter(), []
  names = list(names or map(os.fspath, paths))
  done = 0
  with (
    # Paths may be of any bytes.
    run_files.open_output(
      output, 'w', encoding='utf-8', errors='surrogateescape', newline=''
    ) as file,
    tqdm(total=len(paths), unit='image', disable=None) as bar,
    contextlib.closing(predictor.stream(paths)) as batches,
  ):
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(COLUMNS if predictor.region is None else [*COLUMNS, MAJORITY_FROM])
    for predictions in batches:
      number = len(predictions.errors)
      writer.writerows(_make_rows(names[done : done + number], predictions))
      counts.update(predictions.decisions)
      readable += [done + i for i, error in enumerate(predictions.errors) if not error]
      done += number
      bar.update(number)
  return counts, readable


def _make_rows(names: Sequence[str], predictions: Predictions) -> Iterator[list[str]]:
  threshold = repr(predictions.threshold.value)
  region = predictions.region
  for row, (name, error) in enumerate(zip(names, predictions.errors, strict=True)):
    if error:
      unknown = [] if region is None else ['']
      yield [name, '', '', UNREADABLE, '', error, *unknown]
      continue
    p = predictions.p_minority
    yield [
      name,
      # All digits: who compares these numbers comes to the same decisions.
      repr(float(predictions.scores[row])),
      '' if p is None else repr(float(p[row])),
      predictions.decisions[row],
      threshold,
      '',
      *([] if region is None else [repr(region.majority.value)]),
    ]


def _describe_cuts(predictor: Predictor) -> str:
  """Where the scores are cut, and what that promises."""
  bundle, cut, region = predictor.bundle, predictor.threshold, predictor.region
  if region is None:
    return f'threshold {cut.value:.6g}: {cut.promise}'
  minority, majority = bundle.minority_class, bundle.majority_class
  return (
    f'below {cut.value:.6g} {minority}, from {region.majority.value:.6g} on {majority},'
    f' in between {ABSTAIN}\n'
    f'{ABSTAIN} counted as {majority}: {cut.promise}\n'
    f'{ABSTAIN} counted as {minority}: {bundle.threshold.promise}'
  )


def _check_pictures(folder: str, images: str) -> None:
  """Raises `UserError` if pictures would be among the images, or cannot be written."""
  if os.path.lexists(folder) and not os.path.isdir(folder):
    raise UserError(f'{folder} is no folder: give one for pictures')
  # Unlike pathlib's, this fails for no links there can be.
  place, of_images = (Path(os.path.realpath(path)) for path in (folder, images))
  if of_images == place or of_images in place.parents:
    raise UserError(
      f'{folder} is in the folder of images, which pictures would then be among: give'
      ' another'
    )


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  model = command_line.define_path('model', "A model's folder or a run's workdir.")
  images = command_line.define_path(
    'images', 'An image file, a folder of them, or a CSV file with a column path.'
  )
  output = command_line.define_path('output', 'The CSV file to write.')
  threshold = flags.DEFINE_float(
    'threshold', None, "A score below it means minority; default: the model's own."
  )
  target_specificity = flags.DEFINE_float(
    'target_specificity', None, 'Or the share of the majority to be called majority.'
  )
  abstain = flags.DEFINE_float(
    'abstain',
    None,
    'Or the share of the majority not to be called minority by a model that promises a'
    ' sensitivity: it names no class where it cannot keep both.',
  )
  explain = command_line.define_path(
    'explain', 'A folder for pictures of why each decision was made.'
  )

  def main() -> None:
    if explain.value and abstain.value is not None:
      raise UserError('give --explain or --abstain: a picture explains a class')
    bundle = model_bundle.load(model.value)
    paths, names, passed_over = image_files.list_images(images.value)
    read = [images.value, *paths, *files.list_all(model.value)]
    run_files.check_output(output.value, read)
    if explain.value:
      _check_pictures(explain.value, images.value)
    predictor = Predictor(
      bundle,
      threshold.value,
      target_specificity.value,
      min(BATCH_SIZE, len(paths)),
      abstain.value,
    )
    counts, readable = predict_to_file(predictor, paths, output.value, names)
    if explain.value:
      from egan_jax import explain as explanations

      decided_by = dataclasses.replace(bundle, threshold=predictor.threshold)
      of_readable = [paths[position] for position in readable]
      explanations.explain(decided_by, of_readable, explain.value, readable)
    decided = ', '.join(f'{number} {name}' for name, number in counts.most_common())
    lines = [f'{len(paths)} images: {decided}; in {output.value}']
    if passed_over:
      kinds = ', '.join(f'{number} {kind}' for kind, number in passed_over.items())
      lines.append(f'files passed over: {kinds}')
    lines.append(_describe_cuts(predictor))
    is_taken = run_files.is_standard_output(output.value)
    print('\n'.join(lines), file=sys.stderr if is_taken else sys.stdout)
    if len(readable) < len(paths):
      sys.exit(2)

  # So that what is half written is cleared away.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  command_line.run(main, required=(model, images, output))


if __name__ == '__main__':
  run_command()
