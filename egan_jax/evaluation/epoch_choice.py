"""Which epoch of a game decides, chosen without a test label.

The game oscillates, so the epoch matters. `best_fed` was the best of the rules that
docs/results.md compares (experiments.epoch_rules), and reads only what every game has:
the images it is fed with.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from egan_jax.checks import check_held_out_scores

# Images of a class that a game scores after every epoch, of those it is fed with.
NUM_FED_SCORED = 1000
# Why what `best_fed` decides with promises nothing of new minority images.
MINORITY_CHOSE = (
  'the minority images of a game choose the epoch that ranks them best, so their scores'
  ' do not show how new ones will be scored'
)


def compute_auroc(minority: np.ndarray, majority: np.ndarray) -> float:
  """How well scores `[n]` of the minority and `[m]` of the majority are apart.

  Raises:
    ValueError: scores are not finite or not of one dimension.
    UserError: there are none of a class.
  """
  minority = check_held_out_scores('minority', minority)
  majority = check_held_out_scores('majority', majority)
  is_majority = np.arange(len(minority) + len(majority)) >= len(minority)
  return float(roc_auc_score(is_majority, np.concatenate([minority, majority])))


def best_fed(records: Sequence[Mapping]) -> int:
  """The epoch with the highest AUROC of the images the game is fed with, or the latest.

  No discriminator sees the minority images among them, only what the generator makes
  of them. That it ranks these below the majority is what the game is played for.

  Args:
    records: of one game, with `epoch` and `fed_auroc`, as of `compute_auroc`.

  Raises:
    ValueError: no records.
  """
  return max((record['fed_auroc'], record['epoch']) for record in records)[1]
