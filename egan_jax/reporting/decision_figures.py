"""Figures of a decision: where its thresholds lie, and whether P(minority) holds."""

import os
from collections.abc import Sequence

import numpy as np

from egan_jax.evaluation import reliability
from egan_jax.reporting import plotting
from egan_jax.reporting.plotting import INK, MAJORITY, MINORITY, MUTED

_HISTOGRAM_BINS = 50


def draw_score_histogram(
  scores: np.ndarray,
  is_minority: np.ndarray,
  thresholds: Sequence[float],
  path: str | os.PathLike,
  *,
  label: str,
) -> None:
  """Histogram of test scores by true class, with the threshold of every fold.

  Args:
    scores: `[F, N]` finite test scores, one row per fold; the folds are pooled.
    is_minority: bool `[N]`.
    thresholds: `[F]`, one per fold; infinite ones are not drawn.
    path: of the PNG.
    label: of the protocol the thresholds fall under.
  """
  scores, is_minority = np.asarray(scores), np.asarray(is_minority, bool)
  values = np.unique(np.asarray(thresholds, float))
  values = values[np.isfinite(values)]
  pooled = '' if len(scores) == 1 else f' of {len(scores)} folds, pooled'
  axes = plotting.new_axes(
    'Test scores', f'{label}\ncentral 99% of each class{pooled}', size=(7.2, 4.2)
  )
  edges = _choose_edges(scores, is_minority, values)
  for name, color, of_class in (
    ('minority', MINORITY, is_minority),
    ('majority', MAJORITY, ~is_minority),
  ):
    of_name = scores[:, of_class]
    percent = 100 * np.histogram(of_name, edges)[0] / of_name.size
    axes.stairs(percent, edges, fill=True, color=color, alpha=0.35)
    axes.stairs(percent, edges, color=color, linewidth=1.6, label=f'actually {name}')
  for number, value in enumerate(values):
    plural = 'threshold' if len(values) == 1 else 'thresholds of the folds'
    axes.axvline(
      value, color=INK, linewidth=1.3, label=None if number else plural, zorder=4
    )
  axes.set_xlim(edges[0], edges[-1])
  axes.set_ylim(bottom=0)
  axes.set_xlabel('score (below the threshold: minority)', color=INK)
  axes.set_ylabel('% of the class', color=INK)
  plotting.draw_legend(axes, columns=3)
  plotting.save_figure(axes, path)


def draw_reliability(
  probabilities: np.ndarray,
  is_minority: np.ndarray,
  path: str | os.PathLike,
  *,
  label: str,
) -> None:
  """Share of minority images against what P(minority) said, bin by bin.

  Args:
    probabilities: `[N]` P(minority) at the test set's prior.
    is_minority: bool `[N]`.
    path: of the PNG.
    label: of the protocol the probabilities fall under.
  """
  diagram = reliability.diagram(probabilities, np.asarray(is_minority, bool))
  error = reliability.expected_calibration_error(diagram)
  axes = plotting.new_axes(
    'Reliability of P(minority)',
    f'{label}\nexpected calibration error {error:.3f}',
    size=(5.6, 5.2),
  )
  axes.plot([0, 1], [0, 1], color=MUTED, linestyle=plotting.DASHED, label='perfect')
  axes.plot(
    diagram['probability'], diagram['minority_share'], color=MAJORITY, lw=1.6, zorder=3
  )
  axes.scatter(
    diagram['probability'],
    diagram['minority_share'],
    s=25 + 500 * diagram['weight'],  # areas, so that they compare as shares
    color=MAJORITY,
    edgecolor='white',
    zorder=4,
    label='images by P(minority), area: how many',
  )
  axes.set_xlim(-0.04, 1.04)
  axes.set_ylim(-0.04, 1.04)
  axes.set_aspect('equal')
  axes.set_xlabel('P(minority), mean of the bin', color=INK)
  axes.set_ylabel('minority among the images of the bin', color=INK)
  plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)


def _choose_edges(
  scores: np.ndarray, is_minority: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
  """Edges of equal bins over the central 99% of each class and the thresholds.

  The first threshold is one of them.
  """
  classes = scores[:, is_minority], scores[:, ~is_minority]
  ends = (
    np.quantile(classes[0], (0.005, 0.995)),
    np.quantile(classes[1], (0.005, 0.995)),
  )
  shown = np.concatenate([*ends, thresholds])
  low, high = shown.min(), shown.max()
  margin = 0.03 * (high - low) or 0.5
  low, high = low - margin, high + margin
  width = (high - low) / _HISTOGRAM_BINS
  anchor = thresholds[0] if len(thresholds) else low
  bins = np.arange(
    np.floor((low - anchor) / width), np.ceil((high - anchor) / width) + 1
  )
  return anchor + width * bins
