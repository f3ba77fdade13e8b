"""What each part of the game is worth for few minority images: docs/egan_ablation.md.

  python -m experiments.egan_ablation --features_dir=DIR --search  # settings, first
  python -m experiments.egan_ablation --features_dir=DIR
  python -m experiments.egan_ablation --render                     # only the document

Games are played on the frozen features of few_images, with its draws, folds, threshold
at 5 % false alarms and test images; the rows of the rivals are those it has stored.
Before it come few_images_features and few_images_features --boundary.
Settings are chosen on other classes (egan_ablation_search). Cells are stored as they
come, so a stopped command goes on where it was.
"""

import dataclasses
import json
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from sklearn.model_selection import KFold

from egan_jax import feature_extractor
from egan_jax.evaluation import metrics, thresholds
from experiments import (
  egan_ablation_boundary,
  egan_ablation_search,
  egan_ablation_tables,
  egan_ablation_versions,
  few_images,
)
from experiments.egan_ablation_games import Game, Top
from experiments.egan_ablation_versions import (
  VERSIONS,
  Fit,
  Played,
  Setting,
  Version,
)
from experiments.few_images import Problem

RESULT = Path(__file__).parent / 'results' / 'egan_ablation.json'
PROBLEMS = ('airplane/automobile', 'bird/cat')
_BACKBONES = ('EfficientNetLite0',)
_SIZE = 224


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
    folds = KFold(few_images.NUM_FOLDS, shuffle=True, random_state=0)
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
    return [
      egan_ablation_versions.play(part.fit, game, [setting], *images) for part in parts
    ]

  def measure(self, version: Version, played: list[Played], n: int) -> list[dict]:
    """Of each draw F1 at 5 % false alarms, and what else is of interest."""

    def score(part, games):
      x = part.seen[version.game.from_rule]
      return egan_ablation_versions.score(games, version.averaged, x)

    test = score(self.final, played[-1])
    left = np.empty((len(test), len(self.problem.majority)), np.float32)
    knn = np.empty(len(self.problem.majority), np.float32)
    for (kept, part), games in zip(self.folds, played[:-1], strict=True):
      left[:, kept] = score(part, games)
      knn[kept] = part.knn
    if version.fused:
      test = egan_ablation_versions.fuse(test, left, self.final.knn, knn, n)
      left = egan_ablation_versions.fuse(left, left, knn, knn, n)
    rows = []
    for draw, moved in enumerate(played[-1].moved()):
      cut = thresholds.target_specificity(left[draw], 0.95, few_images.NUM_FOLDS)
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
  knn = egan_ablation_versions.score_neighbors(majority, features)
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


def put(result: dict, names: Sequence[str], search: dict) -> None:
  """Puts the search of some versions into a result, whose cells of them it ends."""
  for kind, found in search.items():
    result.setdefault('search', {}).setdefault(kind, {}).update(found)
  result['cells'] = {
    key: cell for key, cell in result['cells'].items() if key.split('|')[1] not in names
  }


def main(options: types.SimpleNamespace) -> None:
  """Searches, or measures what is not stored yet, and writes the document."""
  output = Path(options.output.value)
  result = json.loads(output.read_text()) if output.exists() else {'cells': {}}

  def keep():
    output.write_text(json.dumps(result, indent=0, sort_keys=True) + '\n')

  if not options.render.value:
    folder = options.features_dir.value
    directions = feature_extractor.class_directions(_BACKBONES, 'imagenet')
    if options.search.value:
      names, draws = options.versions.value, options.search_draws.value
      put(result, names, egan_ablation_search.run(folder, directions, draws, names))
      keep()
      return
    top = egan_ablation_boundary.make_top()
    for name in options.problems.value:
      dataset, minority, _, _ = few_images.PROBLEMS[name]
      problem = Problem(name, _BACKBONES, _SIZE, folder, False)
      boundary = egan_ablation_boundary.load(folder, dataset, minority)
      field = Field(problem, directions, top, boundary)
      chosen, cells = result['search']['chosen'], result['cells']
      run_problem(field, name, chosen, options.draws.value, cells, keep)
  rivals = json.loads(few_images.RESULT.read_text())
  egan_ablation_tables.write(result, rivals)


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  options = types.SimpleNamespace(
    features_dir=flags.DEFINE_string('features_dir', '', 'Of few_images_features.'),
    output=flags.DEFINE_string('output', str(RESULT), 'Where the results are kept.'),
    problems=flags.DEFINE_list('problems', list(PROBLEMS), 'Which.'),
    draws=flags.DEFINE_integer('draws', 20, 'Of the minority images.'),
    search=flags.DEFINE_bool('search', False, 'Choose settings; measure nothing.'),
    versions=flags.DEFINE_list('versions', list(VERSIONS), 'Which, of the search.'),
    search_draws=flags.DEFINE_integer('search_draws', 5, 'Per pair of classes.'),
    render=flags.DEFINE_bool('render', False, 'Only write the document.'),
  )
  app.run(lambda _: main(options))


if __name__ == '__main__':
  run_command()
