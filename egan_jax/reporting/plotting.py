"""The look all figures share: colours, axes, curves of folds, saving.

The colours are Okabe and Ito's, told apart with any kind of colour vision. Figures
are drawn without pyplot, so nothing here touches a caller's matplotlib settings.
"""

import io
import os
import warnings

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egan_jax.run_files import write_bytes

INK = '#222222'
MUTED = '#666666'
RULE = '#e4e4e4'
MINORITY = '#D55E00'
MAJORITY = '#0072B2'
SKY = '#56B4E9'
GREEN = '#009E73'
PURPLE = '#CC79A7'
DASHED = (0, (5, 4))

_DPI = 160
_DOTS_UP_TO = 12  # epochs; a longer curve reads better as a bare line


def new_axes(title: str, subtitle: str, size: tuple[float, float] = (7.2, 4.4)) -> Axes:
  """Axes alone in a figure of `size` inches, with a title and a smaller line below."""
  figure = Figure(size, dpi=_DPI, layout='constrained', facecolor='white')
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  num_lines = 1 + subtitle.count('\n')
  axes.set_title(
    title,
    loc='left',
    color=INK,
    fontsize=12.5,
    fontweight='bold',
    pad=12 * (num_lines + 1),
  )
  axes.annotate(
    subtitle,
    (0, 1),
    xytext=(0, 8),
    xycoords='axes fraction',
    textcoords='offset points',
    va='bottom',
    color=MUTED,
    fontsize=9,
    linespacing=1.3,
  )
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color(MUTED)
  axes.tick_params(color=MUTED, labelcolor=INK, labelsize=9.5)
  axes.grid(axis='y', color=RULE, linewidth=0.8)
  axes.set_axisbelow(True)
  return axes


def set_epoch_axis(axes: Axes, num_epochs: int) -> None:
  """An axis of epochs from 1 with whole, round ticks, 1 and the last among them."""
  step = next(
    step * 10**power
    for power in range(10)
    for step in (1, 2, 5)
    if num_epochs / (step * 10**power) <= 10
  )
  ticks = {1, num_epochs, *range(step, num_epochs - step // 2, step)}
  axes.set_xticks(sorted(ticks))
  margin = max(0.3, 0.015 * num_epochs)
  axes.set_xlim(1 - margin, num_epochs + margin)
  axes.set_xlabel('epoch', color=INK)


def draw_line(
  axes: Axes, values: np.ndarray, color: str, label: str, style: str = '-'
) -> None:
  """A value per epoch `[E]` as a line; the epochs of a short run are dots."""
  axes.plot(
    np.arange(1, len(values) + 1),
    values,
    style,
    color=color,
    label=label,
    marker='o' if len(values) <= _DOTS_UP_TO else None,
    markersize=4.5,
    linewidth=1.8,
    zorder=3,
  )


def draw_curve(axes: Axes, curves: np.ndarray, color: str, label: str) -> None:
  """The mean over folds of curves `[F, E]` as a line, lowest to highest as a band."""
  draw_line(axes, curves.mean(axis=0), color, label)
  epochs = np.arange(1, curves.shape[1] + 1)
  low, high = curves.min(axis=0), curves.max(axis=0)
  axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
  if epochs.size == 1:  # a band of no width would not show
    axes.vlines(epochs, low, high, color=color, alpha=0.4, linewidth=4)


def describe_band(num_folds: int) -> str:
  """What `draw_curve` shows, for a subtitle."""
  if num_folds == 1:
    return 'one fold'
  return f'line: mean of {num_folds} folds, band: lowest to highest fold'


def draw_legend(axes: Axes, columns: int) -> None:
  """The legend as rows under the axes, where it covers no curve."""
  axes.figure.legend(
    loc='outside lower center',
    ncols=columns,
    frameon=False,
    fontsize=9.5,
    labelcolor=INK,
    handlelength=2.2,
  )


def save_figure(axes: Axes, path: str | os.PathLike) -> None:
  """Writes the figure of these axes as a PNG, whole or not at all."""
  buffer = io.BytesIO()
  with warnings.catch_warnings():
    # Names may be of any script; what the font lacks is drawn as a box.
    warnings.filterwarnings('ignore', r'Glyph \d+ .* missing from font', UserWarning)
    axes.figure.savefig(buffer, format='png', bbox_inches='tight', pad_inches=0.15)
  write_bytes(path, buffer.getvalue())


def escape(text: str) -> str:
  """A user's words for a figure: a `$` does not begin a formula, bytes stay such."""
  return text.encode(errors='backslashreplace').decode().replace('$', r'\$')
