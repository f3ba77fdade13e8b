"""What a sliding kernel sees: padding and windows, forward and turned round."""

import jax


def padding_of(shape, kernel_shape, strides: int, padding: str):
  """(low, high) of rows and columns for a map of a shape `[B, H, W, C]`."""
  return jax.lax.padtype_to_pads(
    shape[1:3], kernel_shape[:2], (strides, strides), padding
  )


def transposed_padding(
  shape, kernel_shape, output_shape, strides: int, padding: str
) -> list[tuple[int, int]]:
  """(low, high) of rows and columns that turn a convolution's output round.

  Spread by the strides and padded so, the output convolved VALID with the flipped
  kernel has the input's size; `high` is negative where input was left over.
  """
  turned = []
  for axis, (low, _) in enumerate(padding_of(shape, kernel_shape, strides, padding)):
    before = kernel_shape[axis] - 1 - low
    spread = (output_shape[axis + 1] - 1) * strides + 1
    after = shape[axis + 1] + kernel_shape[axis] - 1 - before - spread
    turned.append((before, after))
  return turned


def windows_of(x: jax.Array, size: tuple[int, int], strides: int):
  """What each tap of a kernel of a `size` sees of a padded map, tap by tap."""
  last_row, last_column = x.shape[1] - size[0], x.shape[2] - size[1]
  for i in range(size[0]):
    for j in range(size[1]):
      rows = slice(i, i + last_row + 1, strides)
      columns = slice(j, j + last_column + 1, strides)
      yield x[:, rows, columns]
