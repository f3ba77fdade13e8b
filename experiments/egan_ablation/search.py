"""How the games of experiments.egan_ablation are played: chosen on other classes.

Pairs of CIFAR-100 classes, training images only, split as in few_images.search: of
each pair 300 majority images are played against, draws come from 250 minority images,
and the rest, 200 and 250, are told apart. For each version and number of minority
images the setting with the highest F1 at 5 % false alarms is taken.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from experiments.egan_ablation import boundary_activations
from experiments.egan_ablation.games import Top
from experiments.egan_ablation.versions import (
  UNTRAINED,
  VERSIONS,
  Fit,
  Setting,
  Version,
  fuse,
  play,
  score,
  score_neighbors,
)
from experiments.few_images import store

NUMBERS = (1, 2, 10, 100)
LEARNING_RATES = (1e-5, 1e-4, 1e-3, 1e-2)
STEPS = (100, 300)
HIDDEN = (0, 32)
PULLS = (0.01, 0.1, 1.0)
CONSISTENCIES = (0.0, 0.1)
_NAME = 'EfficientNetLite0'


def list_settings(version: Version) -> list[Setting]:
  """What is tried of a version; the gentlest first, which ties are decided for."""
  if not version.trained:
    return [UNTRAINED]
  game = version.game
  if game.boundary:  # each step runs the backbone's last layers
    return [
      Setting(rate, STEPS[0], pull=pull)
      for pull, rate in itertools.product(PULLS[::-1], LEARNING_RATES[:3])
    ]
  return [
    Setting(rate, steps, hidden, prior, pull, consistency)
    for hidden, prior, pull, consistency, rate, steps in itertools.product(
      (0,) if game.from_rule else HIDDEN,
      (False, True) if game.from_rule else (False,),
      PULLS[::-1] if game.penalised else (0.0,),
      CONSISTENCIES if game.penalised else (0.0,),
      LEARNING_RATES,
      STEPS,
    )
  ]


def run(
  folder: str, directions: np.ndarray, num_draws: int, names: Sequence[str]
) -> dict:
  """The search.

  Args:
    folder: of few_images.features.
    directions: of the backbone's classifier.
    num_draws: per pair.
    names: of the versions.

  Returns:
    `chosen`, by version and number of minority images a setting as a dict, and
    `tried`, by version and setting the mean F1 and AUROC of each number.
  """
  classes = [
    store.load(folder, 'cifar100', label, 'train', _NAME, 224) for label in range(5)
  ]
  wanted = {name: VERSIONS[name] for name in names}
  makes_boundary = any(version.game.boundary for version in wanted.values())
  top = boundary_activations.make_top() if makes_boundary else None
  rows: dict[tuple, list] = {}
  for minority, majority in store.SEARCHED:
    boundary = None
    if makes_boundary:
      boundary = boundary_activations.load(folder, 'cifar100', minority)
    found = search_pair(
      classes[majority],
      classes[minority],
      directions,
      num_draws,
      versions=wanted,
      top=top,
      boundary=boundary,
    )
    for key, values in found.items():
      rows.setdefault(key, []).extend(values)
    print('searched', minority, majority, flush=True)
  return choose({key: np.mean(values, axis=0) for key, values in rows.items()})


def search_pair(
  majority: np.ndarray,
  minority: np.ndarray,
  directions: np.ndarray | None,
  num_draws: int,
  numbers: Sequence[int] = NUMBERS,
  versions: Mapping[str, Version] = VERSIONS,
  top: Top | None = None,
  boundary: np.ndarray | None = None,
) -> dict[tuple[str, Setting, int], list[tuple[float, float]]]:
  """(F1 at 5 % false alarms, AUROC) per draw of every version and setting.

  Args:
    majority: features `[M, C]`.
    minority: features `[N, C]`.
    directions: of the backbone's classifier.
    num_draws: of the minority.
    numbers: of minority images in a draw.
    versions: by name.
    top: what makes features of boundary activations; None where no game makes such.
    boundary: those of the minority, likewise.
  """
  rng = np.random.default_rng(0)
  majority, order = rng.permutation(majority), rng.permutation(len(minority))
  minority = minority[order]
  count, half = len(majority) * 3 // 5, len(minority) // 2
  fit = Fit(majority[:count], directions, top)
  rest = np.concatenate([minority[half:], majority[count:]])
  knn = score_neighbors(fit.majority, rest)
  num_others = len(minority) - half
  results: dict[tuple, list] = {}
  for n in numbers:
    draws = [rng.permutation(half)[:n] for _ in range(num_draws)]
    images = minority[np.stack(draws)]
    maps = None if boundary is None else boundary[order[np.stack(draws)]]
    for alike in _alike_versions(versions):
      first = next(iter(alike.values()))
      x = fit.see(rest, first.game)
      for settings in _alike(list_settings(first)):
        played = play(fit, first.game, settings, images, maps)
        for name, version in alike.items():
          scores = score(played, version.averaged, x)
          if version.fused:
            held_out = scores[:, num_others:], knn[num_others:]
            scores = fuse(scores, held_out[0], knn, held_out[1], n)
          measured = [measure(s[:num_others], s[num_others:]) for s in scores]
          for i, setting in enumerate(settings):
            of_setting = measured[i * num_draws : (i + 1) * num_draws]
            results[name, setting, n] = of_setting
  return results


def _alike_versions(versions: Mapping[str, Version]) -> list[dict[str, Version]]:
  """Those of the same games, which differ in what decides."""
  groups: dict[tuple, dict[str, Version]] = {}
  for name, version in versions.items():
    groups.setdefault((version.game, version.trained), {})[name] = version
  return list(groups.values())


def _alike(settings: list[Setting]) -> list[list[Setting]]:
  """Those that `versions.play` can play side by side."""
  groups: dict[tuple, list[Setting]] = {}
  for s in settings:
    groups.setdefault((s.steps, s.hidden, s.prior), []).append(s)
  return list(groups.values())


def put(result: dict, names: Sequence[str], search: dict) -> None:
  """Puts the search of some versions into a result, whose cells of them it ends."""
  for kind, found in search.items():
    result.setdefault('search', {}).setdefault(kind, {}).update(found)
  result['cells'] = {
    key: cell for key, cell in result['cells'].items() if key.split('|')[1] not in names
  }


def measure(of_minority: np.ndarray, of_majority: np.ndarray) -> tuple[float, float]:
  """F1 in a balanced test at 5 % false alarms, and AUROC."""
  recall = np.mean(of_minority < np.quantile(of_majority, 0.05))
  is_majority = np.arange(len(of_minority) + len(of_majority)) >= len(of_minority)
  auroc = roc_auc_score(is_majority, np.concatenate([of_minority, of_majority]))
  return float(2 * recall / (recall + 1.05)), float(auroc)


def choose(means: dict[tuple[str, Setting, int], np.ndarray]) -> dict:
  """The best setting of each version and number, and all that was tried."""
  found: dict[str, dict] = {'chosen': {}, 'tried': {}}
  best: dict[tuple[str, int], float] = {}
  order = [
    (name, setting)
    for name, version in VERSIONS.items()
    for setting in list_settings(version)
  ]
  for name, setting in order:
    for n in sorted({key[2] for key in means if key[:2] == (name, setting)}):
      f1, auroc = means[name, setting, n].round(4).tolist()
      tried = found['tried'].setdefault(name, {}).setdefault(describe(setting), {})
      tried[str(n)] = [f1, auroc]
      if f1 > best.get((name, n), -1):
        best[name, n] = f1
        found['chosen'].setdefault(name, {})[str(n)] = dataclasses.asdict(setting)
  return found


def describe(setting: Setting) -> str:
  """A setting in a line; what does not differ from nothing is left out."""
  parts = [f'rate {setting.learning_rate:g}', f'{setting.steps} steps']
  if setting.hidden:
    parts.append(f'{setting.hidden} hidden units')
  if setting.prior:
    parts.append('prior')
  if setting.pull:
    parts.append(f'pull {setting.pull:g}')
  if setting.consistency:
    parts.append(f'consistency {setting.consistency:g}')
  return ', '.join(parts)
