"""Games of a version on the images of a problem, and what their scores decide."""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from sklearn.model_selection import KFold

from egan_jax.evaluation import metrics, thresholds
from experiments.egan_ablation import versions
from experiments.egan_ablation.games import Game, Top
from experiments.egan_ablation.versions import (
  VERSIONS,
  Fit,
  Played,
  Setting,
  Version,
)
from experiments.few_images.decisions import NUM_FOLDS
from experiments.few_images.problems import Problem


@dataclasses.dataclass(frozen=True)
class Part:
  """A fit, and the images that it scores.

  Attributes:
    fit: of majority images.
    seen: what the players see of others, `[N, R]`, as of `Fit.see_both`.
    knn: their kNN part, `[N]`.
  """

  fit: Fit
  seen: dict[bool, jax.Array]
  knn: np.ndarray


class Field:
  """A problem's fits: on each fold's other majority images, and on all of them.

  Attributes:
    folds: of each fold, the indices of its images and the `Part` that scores them.
    final: scores the test images.

  Args:
    problem: the images.
    directions: of the backbone's classifier.
    top: what makes features of boundary activations.
    boundary: those of the minority, in the order of `problem.minority`; both may be
      None where no game makes such.
  """

  def __init__(
    self,
    problem: Problem,
    directions: np.ndarray | None,
    top: Top | None = None,
    boundary: np.ndarray | None = None,
  ):
    self.problem, self._boundary = problem, boundary
    folds = KFold(NUM_FOLDS, shuffle=True, random_state=0)
    self.folds = [
      (
        kept,
        _make_part(problem.majority[fitted], problem.majority[kept], directions, top),
      )
      for fitted, kept in folds.split(problem.majority)
    ]
    self.final = _make_part(problem.majority, problem.test, directions, top)

  def play(self, game: Game, setting: Setting, draws: np.ndarray) -> list[Played]:
    """Games of draws, indices `[D, n]`, against each fold's fit, and against the last."""
    parts = [*(part for _, part in self.folds), self.final]
    images = (
      self.problem.minority[draws],
      self._boundary[draws] if game.boundary else None,
    )
    return [versions.play(part.fit, game, [setting], *images) for part in parts]

  def measure(self, version: Version, played: list[Played], n: int) -> list[dict]:
    """Of each draw F1 at 5 % false alarms, and what else is of interest."""

    def score(part, games):
      x = part.seen[version.game.from_rule]
      return versions.score(games, version.averaged, x)

    test = score(self.final, played[-1])
    left = np.empty((len(test), len(self.problem.majority)), np.float32)
    knn = np.empty(len(self.problem.majority), np.float32)
    for (kept, part), games in zip(self.folds, played[:-1], strict=True):
      left[:, kept] = score(part, games)
      knn[kept] = part.knn
    if version.fused:
      test = versions.fuse(test, left, self.final.knn, knn, n)
      left = versions.fuse(left, left, knn, knn, n)
    rows = []
    for draw, moved in enumerate(played[-1].moved()):
      cut = thresholds.target_specificity(left[draw], 0.95, NUM_FOLDS)
      is_minority = self.problem.test_is_minority
      at_cut = metrics.evaluate_scores(test[draw], is_minority, cut.value, 0.5)
      row = {key: at_cut[key] for key in ('f1', 'auroc', 'recall', 'specificity')}
      if not version.fused:
        at_zero = metrics.evaluate_scores(test[draw], is_minority, 0.0, 0.5)
        row['f1_at_zero'] = at_zero['f1']
      if version.game.from_rule:
        row['moved'] = moved
      rows.append(row)
    return rows


def _make_part(majority, features, directions, top) -> Part:
  knn = versions.score_neighbors(majority, features)
  fit = Fit(majority, directions, top)
  return Part(fit, fit.see_both(features), knn)


def run_problem(
  field: Field,
  name: str,
  chosen: dict,
  num_draws: int,
  stored: dict,
  keep: Callable[[], None],
) -> None:
  """Adds to what is stored the rows of a problem that are missing; keeps each."""
  for n in field.problem.numbers:
    draws = field.problem.draw_indices(n, num_draws)
    last = None, None
    for made, version in VERSIONS.items():
      key = f'{name}|{made}|{n}'
      if key in stored:
        continue
      setting = Setting(**chosen[made][str(n)])
      started = time.monotonic()
      # Versions that differ in what decides only may have the same game.
      if last[0] != (version.game, setting):
        last = (version.game, setting), field.play(version.game, setting, draws)
      rows = field.measure(version, last[1], n)
      stored[key] = {k: [round(float(row[k]), 5) for row in rows] for k in rows[0]}
      means = {k: round(float(np.mean(stored[key][k])), 4) for k in rows[0]}
      print(key, *means.items(), f'{time.monotonic() - started:.0f} s', flush=True)
      keep()
