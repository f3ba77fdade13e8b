"""How well scores tell two classes apart, whatever the threshold; and keeping that.

Also the flags of the experiments that do so.
"""

import os
import types

import numpy as np
from absl import flags
from sklearn.metrics import roc_auc_score

from egan_jax import environment, run_files
from egan_jax.rivals.rival import Rival


def best_f1(of_minority: np.ndarray, of_majority: np.ndarray) -> float:
  """The highest F1 that any cut gives, each class counting half."""
  cuts = np.append(np.concatenate([of_minority, of_majority]), np.inf)
  found, alarms = (
    np.searchsorted(np.sort(scores), cuts) / len(scores)
    for scores in (of_minority, of_majority)
  )
  return float(np.max(2 * found / (found + alarms + 1)))


def measure(of_minority: np.ndarray, of_majority: np.ndarray) -> tuple[float, float]:
  """AUROC and `best_f1` of scores `[n]` and `[m]`; low means minority."""
  scores = np.concatenate([of_minority, of_majority])
  auroc = roc_auc_score(np.arange(len(scores)) >= len(of_minority), scores)
  return float(auroc), best_f1(of_minority, of_majority)


def measure_draws(
  rival: Rival,
  fitted: np.ndarray,
  draws: np.ndarray,
  others: np.ndarray,
  rest: np.ndarray,
) -> list[tuple[float, float]]:
  """`measure` of a rival fitted to each of the draws `[D, n, C]`.

  Args:
    rival: of features.
    fitted: of the majority `[M, C]`, likewise `rest`, which is told apart.
    draws: of the minority.
    others: of the minority, in no draw.
    rest: see `fitted`.
  """
  scorers = rival.fit_draws(fitted, draws, [0] * len(draws))
  return [measure(scorer.scores(others), scorer.scores(rest)) for scorer in scorers]


def keep_means(path: str | os.PathLike, command: str, means: dict) -> None:
  """Writes means over pairs and draws with the command and machine they are from."""
  described = environment.describe_environment()
  result = {'command': command, 'environment': described}
  run_files.write_json(path, result | {'mean_over_pairs_and_draws': means})


def define_flags(draws: int, output: os.PathLike) -> types.SimpleNamespace:
  """Flags with these defaults; for the command to call, since importers have their own."""
  return types.SimpleNamespace(
    draws=flags.DEFINE_integer('draws', draws, 'Of the minority images, per pair.'),
    output=flags.DEFINE_string('output', str(output), 'Where the result goes.'),
  )


def define_features_dir() -> flags.FlagHolder[str]:
  """The flag of a command that reads what `few_images.features` keeps."""
  return flags.DEFINE_string(
    'features_dir', None, 'Of few_images.features.', required=True
  )
