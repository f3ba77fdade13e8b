"""How well scores tell two classes apart, whatever the threshold; and keeping that."""

import os

import numpy as np
from sklearn.metrics import roc_auc_score

from egan_jax.reporting import environment, run_files


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


def keep_means(path: str | os.PathLike, command: str, means: dict) -> None:
  """Writes means over pairs and draws with the command and machine they are from."""
  described = environment.describe_environment()
  result = {'command': command, 'environment': described}
  run_files.write_json(path, result | {'mean_over_pairs_and_draws': means})
