"""The pictures beside the tables, and the paper's figures drawn from stored curves."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from egan_jax.reporting import plotting

# Color and marker of a series by how its name starts: the same in every picture.
_STYLES = {
  'paper': (plotting.INK, 'D'),
  'eGAN, paper protocol': (plotting.MINORITY, 'o'),
  'eGAN, oracle': (plotting.MINORITY, 'o'),
  'eGAN, honest': (plotting.MAJORITY, 's'),
  'best rival': (plotting.GREEN, '^'),
  'always minority': (plotting.PURPLE, 'v'),
}
_CURVE_COLORS = (
  *(plotting.MINORITY, plotting.MAJORITY, plotting.GREEN),
  *(plotting.PURPLE, plotting.SKY, plotting.INK),
)


def draw_dots(
  path: str | os.PathLike,
  title: str,
  subtitle: str,
  groups: Mapping[str, Mapping[str, Sequence[float]]],
  axis: str,
  floor: float | None = None,
) -> None:
  """A row per group and a dot per series, its mean, with the spread as a bar.

  Args:
    path: of the PNG.
    title: what it shows.
    subtitle: how it was chosen.
    groups: by group and series, the values; a series is called as in `_STYLES`.
    axis: name of the values, in [0, 1].
    floor: where "always minority" is.
  """
  names = list(dict.fromkeys(name for series in groups.values() for name in series))
  height = 1.8 + 0.17 * len(names) * len(groups) + 0.22 * len(groups)
  axes = plotting.new_axes(title, subtitle, size=(8.2, max(3.2, height)))
  step = 0.8 / max(len(names), 1)
  for row, series in enumerate(groups.values()):
    for index, name in enumerate(names):
      if len(values := series.get(name, ())):
        color, marker = next(
          s for start, s in _STYLES.items() if name.startswith(start)
        )
        axes.errorbar(
          np.mean(values),
          row - 0.4 + (index + 0.5) * step,
          xerr=np.std(values, ddof=1) if len(values) > 1 else None,
          fmt=marker,
          color=color,
          label=name if row == _first_row(groups, name) else None,
          markersize=6,
          capsize=2.5,
        )
  if floor is not None:
    axes.axvline(
      floor,
      color=plotting.MUTED,
      linestyle=plotting.DASHED,
      label=f'always minority: {floor:.3f}',
    )
  axes.set_yticks(range(len(groups)), groups)
  axes.set_ylim(len(groups) - 0.45, -0.55)
  axes.set_xlim(-0.02, 1.02)
  axes.set_xlabel(axis, color=plotting.INK)
  axes.grid(axis='x', color=plotting.RULE)
  axes.grid(axis='y', visible=False)
  plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)


def _first_row(groups: Mapping, name: str) -> int:
  return next(row for row, s in enumerate(groups.values()) if len(s.get(name, ())))


def draw_curves(
  path: str | os.PathLike,
  title: str,
  subtitle: str,
  curves: Mapping[str, Sequence[float]],
  axis: str,
  floor: float | None = None,
  top: float | None = None,
  mark_highest: bool = False,
) -> None:
  """A line per name over epochs.

  Args:
    path: of the PNG.
    title: what it shows.
    subtitle: of what runs.
    curves: by name, a value per epoch.
    axis: name of the values.
    floor: where "always minority" is.
    top: of the axis; by default as high as the values.
    mark_highest: whether the highest value of each line gets a dot.
  """
  axes = plotting.new_axes(title, subtitle)
  for index, (name, values) in enumerate(curves.items()):
    style = '-' if index < len(_CURVE_COLORS) else '--'
    color = _CURVE_COLORS[index % len(_CURVE_COLORS)]
    plotting.draw_line(axes, np.asarray(values), color, name, style)
    if mark_highest:
      epoch = 1 + np.argmax(values)
      axes.plot(epoch, max(values), 'o', color=color, markeredgecolor='white', zorder=4)
  if floor is not None:
    axes.axhline(
      floor,
      color=plotting.MUTED,
      linestyle=plotting.DASHED,
      label=f'always minority: {floor:.3f}',
    )
  axes.set_ylim(0, top)
  axes.set_ylabel(axis, color=plotting.INK)
  plotting.set_epoch_axis(axes, max(len(values) for values in curves.values()))
  plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)
