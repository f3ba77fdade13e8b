"""Logistic regressions that share their majority images, side by side.

What scikit-learn's `LogisticRegression` minimises, by a truncated Newton method (Nash,
"A survey of truncated-Newton methods", 2000). Every fit of a few minority images against
the same thousands of the majority is then one row of a matrix product, and dozens of them
take little longer than one.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg

from egan_jax.float32_products import in_float32

_MAX_STEPS = 50
_CG_STEPS = 100
_CG_TOLERANCE = 0.05  # of the gradient: exact steps far from the minimum are wasted
# Of the first gradient, or that of features of unit size: about what float32 can tell.
_TOLERANCE = 1e-5
_STEP_SIZES = 0.5 ** np.arange(8, dtype=np.float32)


class Line(NamedTuple):
  """Log odds for the majority: `features @ weights + offset`, `[C]` and `[]`."""

  weights: jax.Array
  offset: jax.Array


class _State(NamedTuple):
  line: Line
  gradient: Line
  step: jax.Array


def fit(
  majority: np.ndarray,
  is_fitted: np.ndarray,
  minority: np.ndarray,
  penalty: float,
  balanced: bool,
) -> Line:
  """Fits every subset of the majority to every draw of the minority.

  Minimises the log losses of all images plus penalty / 2 times the squared norm of the
  weights; the offset is free.

  Args:
    majority: features float32 `[M, C]`.
    is_fitted: bool `[S, M]`, which of them each subset has.
    minority: features float32 `[D, n, C]`.
    penalty: positive; scikit-learn's `1 / C`.
    balanced: whether each class has half of the images' total weight, scikit-learn's
      `class_weight='balanced'`, or every image counts the same.

  Returns:
    Leaves NumPy's, `[S, D, C]` and `[S, D]`.
  """
  shape = len(is_fitted), len(minority)
  lines = _fit_all(
    _pad(majority, 0),
    _pad(np.repeat(is_fitted, shape[1], axis=0), 1),
    _pad(np.tile(minority, (shape[0], 1, 1)), 1),
    _pad(np.ones(minority.shape[1], bool), 0),
    penalty,
    balanced,
  )
  return jax.tree.map(lambda a: np.reshape(a, (*shape, *a.shape[1:])), lines)


def _pad(array: np.ndarray, axis: int) -> np.ndarray:
  """Appends rows of 0, to the next number on a grid of eight to every doubling.

  A program is compiled for one number of images, which takes longer than a fit. Fits
  that leave a few images out, or of another folder with about as many, then share it.
  """
  count = array.shape[axis]
  step = max(1, 2 ** (count.bit_length() - 4))
  widths = np.zeros((array.ndim, 2), int)
  widths[axis, 1] = -count % step
  return np.pad(array, widths)


# Over one axis of all fits: nested ones take longer to trace.
@jax.jit
@in_float32
@functools.partial(jax.vmap, in_axes=(None, 0, 0, None, None, None))
def _fit_all(
  majority: jax.Array,
  is_fitted: jax.Array,
  minority: jax.Array,
  is_minority: jax.Array,
  penalty: float,
  balanced: bool,
) -> Line:
  num_majority, num_minority = (
    mask.sum(dtype=majority.dtype) for mask in (is_fitted, is_minority)
  )
  half = (num_majority + num_minority) / 2
  of_majority = is_fitted * jnp.where(balanced, half / num_majority, 1.0)
  of_minority = is_minority * jnp.where(balanced, half / num_minority, 1.0)

  def score(line):
    return tuple(images @ line.weights + line.offset for images in (majority, minority))

  def loss_of_scores(scores, squared_norm):
    losses = of_majority @ jax.nn.softplus(-scores[0])
    losses += of_minority @ jax.nn.softplus(scores[1])
    return losses + penalty / 2 * squared_norm

  def loss(line):
    return loss_of_scores(score(line), line.weights @ line.weights)

  def go_on(state):
    norm = _norm(state.gradient)
    return (state.step < _MAX_STEPS) & (norm > _TOLERANCE * scale)

  def step(state):
    line, gradient, count = state

    def multiply_by_hessian(direction):
      return jax.jvp(jax.grad(loss), (line,), (direction,))[1]

    downhill = jax.tree.map(jnp.negative, gradient)
    direction, _ = cg(
      multiply_by_hessian, downhill, tol=_CG_TOLERANCE, maxiter=_CG_STEPS
    )
    scores, changes = jax.jvp(score, (line,), (direction,))
    squares = (
      line.weights @ line.weights,
      2 * line.weights @ direction.weights,
      direction.weights @ direction.weights,
    )

    def loss_at(size):
      moved = tuple(s + size * c for s, c in zip(scores, changes, strict=True))
      return loss_of_scores(moved, jnp.polyval(jnp.stack(squares[::-1]), size))

    sizes = jnp.asarray(_STEP_SIZES)
    size = sizes[jnp.argmin(jax.vmap(loss_at)(sizes))]
    line = jax.tree.map(lambda a, b: a + size * b, line, direction)
    return _State(line, jax.grad(loss)(line), count + 1)

  # The offset is right for weights of 0, so that the first gradient is the images'.
  log_odds = jnp.where(balanced, 0.0, jnp.log(num_majority / num_minority))
  start = Line(jnp.zeros_like(majority[0]), jnp.asarray(log_odds, majority.dtype))
  gradient = jax.grad(loss)(start)
  # A single huge feature must not end the fit of all others.
  scale = jnp.minimum(_norm(gradient), num_majority + num_minority)
  return jax.lax.while_loop(
    go_on, step, _State(start, gradient, jnp.zeros((), int))
  ).line


def _norm(line: Line) -> jax.Array:
  return jnp.sqrt(line.weights @ line.weights + line.offset**2)
