"""What a finished run leaves in its workdir, made from records and arrays."""

import io
from collections import defaultdict
from pathlib import Path

import numpy as np

from egan_jax import run_files
from egan_jax.evaluation import nash, protocols
from egan_jax.reporting import decision_figures, figures


def summarise(
  records: list[dict],
  nash_threshold: int,
  stopped_at_nash: bool,
  folds_per_seed: int,
) -> dict:
  """The parts of summary.json that come from the metric records.

  Args:
    records: metric records of all folds and epochs.
    nash_threshold: of `nash.is_at_nash`.
    stopped_at_nash: whether folds stopped there: then test labels chose the last
      epoch, and its figures are an oracle's too.
    folds_per_seed: of several seeds, the folds follow each other; what each seed's
      came to alone is then in `protocols_by_seed`.
  """

  def describe(of_folds: list[dict]) -> dict:
    return {
      'paper': protocols.paper_protocol(of_folds),
      'honest': protocols.honest_protocol(of_folds, stopped_at_nash=stopped_at_nash),
    }

  by_seed = defaultdict(list)
  for record in records:
    by_seed[record['fold'] // folds_per_seed].append(record)
  return {
    'protocols': describe(records),
    'protocols_by_seed': [describe(of_seed) for of_seed in by_seed.values()],
    'nash': {
      'threshold': nash_threshold,
      'first_epochs': nash.find_nash_epochs(records, nash_threshold),
    },
  }


def draw_figures(
  folder: Path,
  records: list[dict],
  honest: dict,
  scores: np.ndarray,
  is_minority: np.ndarray,
  minority_images: np.ndarray,
  generated_images: np.ndarray,
) -> None:
  """All figures of a run.

  Args:
    folder: where the PNGs go.
    records: metric records of all folds and epochs.
    honest: as of `protocols.honest_protocol`, of the same records.
    scores: `[F, T]`, test scores of the discriminators that decide.
    is_minority: bool `[T]`.
    minority_images: uint8 `[F, n, H, W, 3]`.
    generated_images: `[F, n, 32, 32, 3]` in [0, 1], what came of them.
  """
  label = honest['label']
  decision = {'decision_epochs': honest['epochs'], 'label': label}
  figures.draw_losses(records, folder / 'losses.png')
  figures.draw_correct_counts(records, folder / 'correct_counts.png')
  figures.draw_precision_recall_f1(
    records, folder / 'precision_recall_f1.png', **decision
  )
  figures.draw_confusion_matrix(records, folder / 'confusion_matrix.png', **decision)
  decision_figures.draw_score_histogram(
    scores, is_minority, [0.0], folder / 'scores.png', label=label
  )
  figures.draw_generated_images(
    minority_images, generated_images, folder / 'generated_images.png'
  )


def write_scores(
  path: Path, scores: np.ndarray, is_minority: np.ndarray, test_indices: np.ndarray
) -> None:
  """Writes an .npz with `scores` `[F, T]`, `labels` `[T]` and `test_indices` `[T]`.

  `labels` is 1 for the minority, the positive class, and 0 for the majority;
  `test_indices` says where an image stands in the data set's test split.
  """
  buffer = io.BytesIO()
  np.savez(
    buffer,
    scores=scores,
    labels=is_minority.astype(np.int8),
    test_indices=test_indices,
  )
  run_files.write_bytes(path, buffer.getvalue())
