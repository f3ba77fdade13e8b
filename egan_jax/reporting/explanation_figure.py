"""The panel that explains one decision."""

import os
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from egan_jax.reporting import plotting
from egan_jax.reporting.plotting import INK, MAJORITY, MINORITY, MUTED

_LARGE, _SMALL, _GAP = 2.7, 1.0, 0.15  # sides of images, in units of the axes
_ROW = 1.5  # from one class's thumbnails to the other's
_EVEN = 1e-3  # evidence that varies by a smaller share of its maximum names no place
_LONGEST_NAME = 20
_WIDEST_LINE = 110
_WIDEST_TITLE = 70
_WIDEST_CAPTION = 40  # of the images that are large


def draw_explanation(
  image: np.ndarray,
  explanation: Any,
  path: str | os.PathLike,
  *,
  title: str,
  words: Sequence[str],
  class_names: tuple[str, str],
) -> None:
  """Image, overlay of the evidence, and the most similar images of each class.

  Args:
    image: uint8 `[S, S, 3]`.
    explanation: as of `explain.explain_image`.
    path: of the PNG.
    title: what was decided about which image.
    words: sentences about the decision, a line each.
    class_names: of the minority and of the majority.
  """
  classes = [
    (class_names[0], MINORITY, explanation.nearest_minority),
    (class_names[1], MAJORITY, explanation.nearest_majority),
  ]
  classes = [entry for entry in classes if entry[2] is not None]
  width = 2 * _LARGE + _GAP
  if classes:
    most = max(len(nearest.names) for _, _, nearest in classes)
    width += 3 * _GAP + most * (_SMALL + _GAP)
  lines = [line for text in words for line in textwrap.wrap(text, _WIDEST_LINE)]
  axes = plotting.new_axes(
    plotting.escape(textwrap.fill(title, _WIDEST_TITLE)),
    plotting.escape('\n'.join(lines)),
    size=(1.15 * width, 1.15 * (_LARGE + 0.4) + 0.6 + 0.2 * len(lines)),
  )
  called = class_names[0] if explanation.is_minority else class_names[1]
  _place(axes, image, 0, 0, _LARGE, 'what the model sees')
  evidence, caption = explanation.evidence, f'what spoke for {called} (Grad-CAM)'
  if not evidence.any():
    caption = f'no part of the image spoke for {called}'
  elif np.ptp(evidence) < _EVEN * evidence.max():
    # As where the feature maps have a single cell.
    evidence = np.zeros_like(evidence)
    caption = f'all parts alike spoke for {called}'
  overlay = _overlay(image, evidence)
  _place(axes, overlay, _LARGE + _GAP, 0, _LARGE, caption)
  for row, (name, color, nearest) in enumerate(classes):
    _place_nearest(axes, nearest, 2 * _LARGE + 4 * _GAP, row * _ROW, name, color)
  axes.set_xlim(0, width)
  axes.set_ylim(_LARGE + 0.4, -0.05)
  axes.set_aspect('equal')
  axes.set_anchor('W')
  axes.set_axis_off()
  plotting.save_figure(axes, path)


def _place_nearest(
  axes: Axes, nearest: Any, left: float, top: float, name: str, color: str
) -> None:
  title = plotting.escape(f'most like it among {name}')
  axes.text(left, top + 0.12, title, color=color, fontsize=9, fontweight='bold')
  for number, thumbnail in enumerate(nearest.thumbnails):
    caption = f'cosine {nearest.similarities[number]:.3f}'
    x = left + number * (_SMALL + _GAP)
    _place(axes, thumbnail, x, top + 0.18, _SMALL, caption, fontsize=7.5)
    file_name = nearest.names[number].rsplit('/', 1)[-1]
    if len(file_name) > _LONGEST_NAME:
      file_name = f'...{file_name[3 - _LONGEST_NAME :]}'
    axes.text(
      x, top + 1.4, plotting.escape(file_name), color=MUTED, fontsize=6.5, va='top'
    )


def _place(
  axes: Axes,
  image: np.ndarray,
  left: float,
  top: float,
  side: float,
  caption: str,
  fontsize: float = 9,
) -> None:
  axes.imshow(
    image, extent=(left, left + side, top + side, top), interpolation='nearest'
  )
  axes.text(
    left,
    top + side + 0.05,
    plotting.escape(textwrap.fill(caption, _WIDEST_CAPTION)),
    color=INK,
    fontsize=fontsize,
    va='top',
  )


def _overlay(image: np.ndarray, evidence: np.ndarray) -> np.ndarray:
  """The image in grey, coloured where the evidence is, float `[S, S, 3]` in [0, 1]."""
  strength = evidence / (evidence.max() or 1)
  grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
  colors = colormaps['inferno'](strength)[..., :3]
  share = 0.75 * strength[..., None]
  return (1 - share) * grey + share * colors
