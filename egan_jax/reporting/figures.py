"""The figures of a run: each function draws one PNG from plain records or arrays.

Records are metric records, as the lines of metrics.jsonl. Epochs count from 1; a
fold that has stopped keeps its last values. A figure that quotes a result names the
protocol it falls under.
"""

import os
from collections.abc import Sequence

import numpy as np

from egan_jax.evaluation.metrics import constant_predictor_floor
from egan_jax.evaluation.protocols import (
  ORACLE_LABEL,
  find_last_epochs,
  read_epochs,
  stack_curves,
)
from egan_jax.reporting import plotting
from egan_jax.reporting.plotting import INK, MAJORITY, MINORITY, MUTED

_GRID_COLUMNS = 8


def draw_losses(records: Sequence[dict], path: str | os.PathLike) -> None:
  """Generator and discriminator loss per epoch (paper Fig. 2).

  The terms of the discriminator's loss, `discriminator_majority_loss` and
  `discriminator_generated_loss`, are drawn beside it.
  """
  axes = plotting.new_axes('Losses', _describe_curves(records))
  lines = [
    ('generator_loss', 'generator', MINORITY),
    ('discriminator_loss', 'discriminator', MAJORITY),
  ]
  for field, name, color in lines:
    plotting.draw_curve(axes, stack_curves(records, field), color, name)
  terms = [
    ('discriminator_majority_loss', 'on real images', '--', plotting.SKY),
    ('discriminator_generated_loss', 'on generated images', ':', plotting.PURPLE),
  ]
  for field, name, style, color in terms:
    mean = stack_curves(records, field).mean(axis=0)
    plotting.draw_line(axes, mean, color, f'discriminator {name}', style)
  axes.set_ylim(bottom=0)
  axes.set_ylabel('binary cross-entropy', color=INK)
  plotting.set_epoch_axis(axes, max(find_last_epochs(records)))
  plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)


def draw_correct_counts(records: Sequence[dict], path: str | os.PathLike) -> None:
  """Correctly classified test images of each class per epoch (paper Figs. 4, 5)."""
  axes = plotting.new_axes(
    'Correctly classified test images', _describe_curves(records)
  )
  minority_total, majority_total = _count_test_images(records)
  if minority_total == majority_total:
    totals = [(minority_total, MUTED, f'all {minority_total} of a class')]
  else:
    totals = [
      (minority_total, MINORITY, f'all {minority_total} minority'),
      (majority_total, MAJORITY, f'all {majority_total} majority'),
    ]
  for name, color in (('minority', MINORITY), ('majority', MAJORITY)):
    plotting.draw_curve(axes, stack_curves(records, f'{name}_correct'), color, name)
  for total, color, name in totals:
    axes.axhline(total, color=color, linestyle=plotting.DASHED, label=name)
  axes.set_ylim(0, 1.05 * max(minority_total, majority_total))
  axes.set_ylabel('test images', color=INK)
  plotting.set_epoch_axis(axes, max(find_last_epochs(records)))
  plotting.draw_legend(axes, columns=4)
  plotting.save_figure(axes, path)


def draw_precision_recall_f1(
  records: Sequence[dict],
  path: str | os.PathLike,
  *,
  decision_epochs: Sequence[int],
  label: str,
) -> None:
  """Precision, recall and F1 of the minority per epoch (paper Fig. 4).

  A ring marks each curve's best epoch, the paper's oracle figure, a dot each fold at
  the epoch that decides; a dashed line the F1 of "always minority".

  Args:
    records: metric records.
    path: of the PNG.
    decision_epochs: the `epochs` of `honest_protocol`.
    label: its label.
  """
  dots = f'decision (dot{", one per fold" if len(decision_epochs) > 1 else ""})'
  axes = plotting.new_axes(
    'Precision, recall and F1 of the minority class',
    f'{_describe_curves(records)}\nbest (ring) = {ORACLE_LABEL}\n{dots} = {label}',
  )
  lines = [
    ('precision', 'precision', plotting.PURPLE),
    ('recall', 'recall', plotting.GREEN),
    ('f1', 'F1', INK),
  ]
  for field, name, color in lines:
    curves = stack_curves(records, field)
    mean = curves.mean(axis=0)
    best = int(mean.argmax())
    decided = read_epochs(records, field, decision_epochs)
    name = f'{name}: best {mean[best]:.2f} at epoch {best + 1}, decision {decided.mean():.2f}'
    plotting.draw_curve(axes, curves, color, name)
    axes.plot(
      best + 1, mean[best], 'o', color=color, mfc='white', ms=9, mew=2, zorder=4
    )
    axes.plot(decision_epochs, decided, 'o', color=color, ms=5, zorder=5)
  floor = constant_predictor_floor(*_count_test_images(records))['f1']
  name = f'F1 of always minority: {floor:.2f}'
  axes.axhline(floor, color=MUTED, linestyle=plotting.DASHED, label=name)
  axes.set_ylim(0, 1.05)
  axes.set_ylabel('on the test set', color=INK)
  plotting.set_epoch_axis(axes, max(find_last_epochs(records)))
  plotting.draw_legend(axes, columns=2)
  plotting.save_figure(axes, path)


def draw_confusion_matrix(
  records: Sequence[dict],
  path: str | os.PathLike,
  *,
  decision_epochs: Sequence[int],
  label: str,
) -> None:
  """The confusion matrix at each fold's decision epoch (as in paper Tables 1, 2).

  Cells are **means over folds**: every fold is judged on the same test images, and
  a mean keeps the rows adding up to the number of those.

  Args:
    records: metric records.
    path: of the PNG.
    decision_epochs: the `epochs` of `honest_protocol`.
    label: its label.
  """
  minority, majority = (
    read_epochs(records, f'{of_class}_correct', decision_epochs).mean()
    for of_class in ('minority', 'majority')
  )
  totals = _count_test_images(records)
  counts = np.array(
    [[minority, totals[0] - minority], [totals[1] - majority, majority]]
  )
  shares = counts / np.array(totals)[:, None]

  folds = len(find_last_epochs(records))
  over = 'one fold' if folds == 1 else f'mean of {folds} folds'
  axes = plotting.new_axes('Confusion matrix', f'{label}\n{over}', size=(4.8, 4.4))
  axes.imshow(shares, cmap='Blues', vmin=0, vmax=1.8)  # light enough for dark text
  for row, column in np.ndindex(2, 2):
    count = f'{counts[row, column]:.1f}'.removesuffix('.0')
    style = {'color': INK, 'ha': 'center'}
    axes.text(column, row, count, va='bottom', fontsize=17, **style)
    axes.text(column, row + 0.06, f'{shares[row, column]:.1%}', va='top', **style)
  axes.axhline(0.5, color='white', linewidth=3)
  axes.axvline(0.5, color='white', linewidth=3)
  axes.set_xticks([0, 1], ['predicted\nminority', 'predicted\nmajority'])
  axes.set_yticks([0, 1], ['actually\nminority', 'actually\nmajority'])
  axes.tick_params(length=0)
  axes.grid(visible=False)
  axes.spines[:].set_visible(False)
  plotting.save_figure(axes, path)


def draw_generated_images(
  minority_images: np.ndarray, generated_images: np.ndarray, path: str | os.PathLike
) -> None:
  """Minority images on the left, what was generated from each on the right.

  A row per fold; of many images the first few are shown.

  Args:
    minority_images: `[F, n, h, w, 3]`, uint8 or float in [0, 1].
    generated_images: `[F, n, h, w, 3]`, likewise; h and w may differ.
    path: of the PNG.

  Raises:
    ValueError: the folds or numbers of images differ, or a float is outside [0, 1].
  """
  folds, num_images = np.shape(minority_images)[:2]
  if np.shape(generated_images)[:2] != (folds, num_images):
    raise ValueError('each minority image needs one generated image')
  shown = min(num_images, _GRID_COLUMNS)
  tile = min(0.8, 7.0 / (2 * shown))
  first = '' if shown == num_images else f'\nthe first {shown} of {num_images} per fold'
  axes = plotting.new_axes(
    'Real and generated minority images',
    f'a row per fold; generated images in the order of their sources{first}',
    size=(max(5.0, 2 * shown * tile + 1.2), folds * tile + 1.2),
  )
  axes.set_anchor('W')
  # One unit of the axes is one image; half a unit parts the two blocks.
  for block, images in enumerate((minority_images, generated_images)):
    left = block * (shown + 0.5)
    for fold, index in np.ndindex(folds, shown):
      x = left + index
      axes.imshow(
        _to_unit_range(images[fold][index]),
        extent=(x + 0.03, x + 0.97, fold + 0.97, fold + 0.03),
        interpolation='nearest',
      )
  axes.set_xlim(0, 2 * shown + 0.5)
  axes.set_ylim(folds, 0)
  axes.set_xticks([shown / 2, 1.5 * shown + 0.5], ['minority', 'generated'])
  axes.set_yticks(np.arange(folds) + 0.5, [f'fold {fold}' for fold in range(folds)])
  axes.tick_params(length=0)
  axes.grid(visible=False)
  axes.spines[:].set_visible(False)
  plotting.save_figure(axes, path)


def _describe_curves(records: Sequence[dict]) -> str:
  """What a line and a band are, and whether some folds stopped before others."""
  last_epochs = find_last_epochs(records)
  band = plotting.describe_band(len(last_epochs))
  if min(last_epochs) == max(last_epochs):
    return band
  return f'{band}; stopped folds keep their last value'


def _count_test_images(records: Sequence[dict]) -> tuple[int, int]:
  """Test images of the minority and of the majority."""
  return records[0]['minority_total'], records[0]['majority_total']


def _to_unit_range(images: np.ndarray) -> np.ndarray:
  """uint8 or float images as floats in [0, 1]; rounding just outside is cut off."""
  images = np.asarray(images)
  if images.dtype == np.uint8:
    return images / 255
  if images.min() < -1e-3 or images.max() > 1 + 1e-3:
    raise ValueError('float images must lie in [0, 1]')
  return images.clip(0, 1)
