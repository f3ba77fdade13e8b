"""What a sliding kernel sees: padding and windows, forward and turned round."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def padding_of(shape, kernel_shape, strides: int, padding: str):
  """(low, high) of rows and columns for a map of a shape `[B, H, W, C]`."""
  return jax.lax.padtype_to_pads(
    shape[1:3], kernel_shape[:2], (strides, strides), padding
  )


def windows_of(x: jax.Array, size: tuple[int, int], strides: int):
  """What each tap of a kernel of a `size` sees of a padded map, tap by tap."""
  last_row, last_column = x.shape[1] - size[0], x.shape[2] - size[1]
  for i in range(size[0]):
    for j in range(size[1]):
      rows = slice(i, i + last_row + 1, strides)
      columns = slice(j, j + last_column + 1, strides)
      yield x[:, rows, columns]


def turn_round(
  phases: Callable[[Any], jax.Array],
  outputs: Any,
  shape: tuple[int, ...],
  kernel_shape: tuple[int, ...],
  strides: int,
  padding: str,
  fuses: bool = False,
) -> jax.Array:
  """From a map for every output pixel back to one for every input pixel.

  With strides s, input pixels whose padded positions agree modulo s are seen by the
  same taps. Each such phase is a stride-1 sum over its own taps, `ceil(kernel / s)`
  along an axis, so no zeros between spread outputs are ever multiplied.

  Args:
    phases: makes all phases `[B, h, w, s, s, C]` of padded outputs
      `[B, h + n - 1, w + m - 1, ...]`, where `(n, m)` is `taps_of_a_phase`: position
      u of phase p takes what padded output u + n - 1 - a gives through tap a s + p.
    outputs: arrays `[B, h', w', ...]` in the output's positions.
    shape: of the input, `[B, H, W, C]`.
    kernel_shape: rows and columns first.
    strides: the same along both axes.
    padding: of the forward operation, 'SAME' or 'VALID'.
    fuses: whether XLA fuses what produces the outputs into `phases`.

  Returns:
    `[B, H, W, C]`.
  """
  taps = taps_of_a_phase(kernel_shape, strides)
  out_shape = jax.tree.leaves(outputs)[0].shape
  pads, starts = [], []
  for axis, (low, _) in enumerate(padding_of(shape, kernel_shape, strides, padding)):
    first, start = divmod(low, strides)
    positions = -(-(low + shape[axis + 1]) // strides) - first
    if axis == 0 and fuses:
      # XLA takes a window that lies within what was padded from before the padding, and
      # computes once more for it what produces the outputs. With a row to spare none does.
      positions = max(positions, out_shape[1] + 1)
    before = taps[axis] - 1 - first
    pads.append((before, positions + first - out_shape[axis + 1], 0))
    starts.append(start)

  def pad(a):
    edges = [(0, 0, 0), *pads, *[(0, 0, 0)] * (a.ndim - 3)]
    return jax.lax.pad(a, jnp.zeros((), a.dtype), edges)

  turned = phases(jax.tree.map(pad, outputs))
  batch, rows, columns = turned.shape[:3]
  spread = turned.swapaxes(2, 3).reshape(batch, rows * strides, columns * strides, -1)
  top, left = starts
  return spread[:, top : top + shape[1], left : left + shape[2]]


def sum_phases(
  give_back: Callable[[int, int, Any], jax.Array],
  outputs: Any,
  kernel_shape: tuple[int, ...],
  strides: int,
) -> jax.Array:
  """Phases, as `turn_round` asks for them, as a sum over the taps of each.

  Args:
    give_back: from a tap's row and column, and arrays of the outputs that saw their
      pixel through it, to what they give back to that pixel, `[B, h, w, C]`.
    outputs: padded arrays `[B, h + n - 1, w + m - 1, ...]`, the first with C channels.
    kernel_shape: rows and columns first.
    strides: the same along both axes.

  Returns:
    `[B, h, w, s, s, C]`.
  """
  n, m = taps_of_a_phase(kernel_shape, strides)
  first = jax.tree.leaves(outputs)[0]
  batch, height, width, channels = first.shape
  # Of a phase that no tap sees, where the strides are larger than the kernel.
  nothing = jnp.zeros((batch, height - n + 1, width - m + 1, channels), first.dtype)

  def tap(i, j):
    rows = slice(n - 1 - i // strides, height - i // strides)
    columns = slice(m - 1 - j // strides, width - j // strides)
    return give_back(i, j, jax.tree.map(lambda a: a[:, rows, columns], outputs))

  def phase(p, q):
    taps = itertools.product(
      range(p, kernel_shape[0], strides), range(q, kernel_shape[1], strides)
    )
    return sum(itertools.starmap(tap, taps), nothing)

  steps = range(strides)
  return jnp.stack(
    [jnp.stack([phase(p, q) for q in steps], axis=3) for p in steps], axis=3
  )


def taps_of_a_phase(kernel_shape: tuple[int, ...], strides: int) -> tuple[int, int]:
  """The most taps of a kernel, along rows and columns, that see one input pixel."""
  return -(-kernel_shape[0] // strides), -(-kernel_shape[1] // strides)
