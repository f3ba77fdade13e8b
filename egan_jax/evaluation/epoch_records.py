"""The metric records of one epoch: the lines of metrics.jsonl."""

from collections.abc import Mapping

import numpy as np

from egan_jax.errors import UserError
from egan_jax.evaluation import epoch_choice, metrics


def check_finite(
  epoch: int,
  active: np.ndarray,
  terms: Mapping[str, np.ndarray],
  scores: Mapping[str, np.ndarray],
) -> None:
  """Stops a run whose losses or scores are not finite.

  Args:
    epoch: counted from 1.
    active: bool `[F]`, the folds that count.
    terms: loss terms `[F]` by name.
    scores: `[F, N]` by what they are of.

  Raises:
    UserError: an active fold's are not; names the epoch, the fold and which.
  """
  finite = {f'{name} loss': np.isfinite(values) for name, values in terms.items()}
  for name, values in scores.items():
    finite[f'{name} score'] = np.isfinite(values).all(axis=1)
  for name, ok in finite.items():
    bad = np.flatnonzero(active & ~np.asarray(ok))
    if len(bad):
      raise UserError(
        f'epoch {epoch}, fold {bad[0]}: the {name} is not finite; the last checkpoint'
        ' before it stays; try a lower config.learning_rate in a new workdir'
      )


def make_records(
  epoch: int,
  active: np.ndarray,
  terms: Mapping[str, np.ndarray],
  scores: Mapping[str, np.ndarray],
  is_minority: np.ndarray,
) -> list[dict]:
  """One record per active fold; folds count from 0 and epochs from 1.

  Args:
    epoch: counted from 1.
    active: bool `[F]`.
    terms: the loss terms `majority`, `generated` and `generator`, `[F]` each.
    scores: `test` `[F, T]`; `fed_minority` `[F, n]` and `fed_majority` `[F, m]`, of
      images the game is fed with.
    is_minority: bool `[T]`.
  """
  terms = {name: np.asarray(values) for name, values in terms.items()}
  return [
    {
      'fold': int(fold),
      'epoch': epoch,
      **metrics.evaluate_scores(scores['test'][fold], is_minority),
      'fed_auroc': epoch_choice.compute_auroc(
        scores['fed_minority'][fold], scores['fed_majority'][fold]
      ),
      'generator_loss': terms['generator'][fold],
      'discriminator_loss': terms['majority'][fold] + terms['generated'][fold],
      'discriminator_majority_loss': terms['majority'][fold],
      'discriminator_generated_loss': terms['generated'][fold],
    }
    for fold in np.flatnonzero(active)
  ]


def describe_progress(records: list[dict]) -> str:
  """Losses and correct counts of one epoch, means over folds, for a progress bar."""
  names = 'generator_loss', 'discriminator_loss', 'minority_correct', 'majority_correct'
  generator, discriminator, minority, majority = (
    np.mean([record[name] for record in records]) for name in names
  )
  return (
    f'loss G {generator:.3f} D {discriminator:.3f}, correct'
    f' minority {minority:.0f}/{records[0]["minority_total"]}'
    f' majority {majority:.0f}/{records[0]["majority_total"]}'
  )
