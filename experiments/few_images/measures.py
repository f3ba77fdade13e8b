"""How well scores tell two classes apart, whatever the threshold; and keeping that.

Also how the experiments that do so are run.
"""

import os
import types
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import flags
from sklearn.metrics import roc_auc_score

from egan_jax import command_line, environment, run_files
from egan_jax.rivals.rival import Rival

# What an experiment may read, and the flag's help.
_FOLDERS = {
  'features_dir': 'Of few_images.features.',
  'data_dir': 'The TFDS data folder.',
  'xray_dir': 'Holds train/NORMAL and so on.',
}


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
  scorers = rival.fit_draws(rival.measure(fitted), draws, [0] * len(draws))
  return [measure(scorer.scores(others), scorer.scores(rest)) for scorer in scorers]


def keep_means(path: str | os.PathLike, command: str, means: dict) -> None:
  """Writes means over pairs and draws with the command and machine they are from."""
  described = environment.describe_environment()
  result = {'command': command, 'environment': described}
  run_files.write_json(path, result | {'mean_over_pairs_and_draws': means})


def average(found: Mapping[tuple, Sequence]) -> dict[str, dict[str, dict]]:
  """Mean AUROC and best F1 of `measure`'s rows, by the first and the second of a key."""
  means = {}
  for (first, second), rows in found.items():
    auroc, f1 = np.mean(rows, axis=0).round(4).tolist()
    cell = {'auroc': auroc, 'best_f1': f1}
    means.setdefault(str(first), {})[str(second)] = cell
  return means


def run_command(
  main: Callable[[types.SimpleNamespace], None],
  draws: int,
  output: os.PathLike,
  folders: Sequence[str],
) -> None:
  """Runs an experiment as a command, with flags that its importers do not get.

  Args:
    main: takes the flags `draws` and `output`, and one for each folder.
    draws: the default.
    output: the default.
    folders: of `_FOLDERS`.
  """
  options = types.SimpleNamespace(
    draws=flags.DEFINE_integer('draws', draws, 'Of the minority images, per pair.'),
    output=flags.DEFINE_string('output', str(output), 'Where the result goes.'),
  )
  for name in folders:
    setattr(options, name, flags.DEFINE_string(name, '', _FOLDERS[name]))
  required = (options.features_dir,) if 'features_dir' in folders else ()
  command_line.run(lambda: main(options), required)
