"""After how many updates a discriminator ranks best, and what others would have said.

The number of updates is the one constant of the default rule. It is judged as a
constant has to be: for every data set by the number that is best on the *other* data
sets, so that no test label of a data set has a say in its own figure.
"""

from collections.abc import Mapping

import numpy as np

from egan_jax.evaluation import metrics
from egan_jax.evaluation.epoch_choice import DECISION_STEPS, find_decision_epoch
from experiments.paper import rendering

STEPS = (1, 10, 20, 40, 80, 160, 320, 0)  # 0: the last epoch


def measure(
  test: np.ndarray, is_minority: np.ndarray, batch_size: int, num_majority: int
) -> dict[str, list[float]]:
  """AUROC of every game at the epoch that each of `STEPS` chooses.

  Args:
    test: scores `[epochs, games, images]`.
    is_minority: bool `[images]`.
    batch_size: majority images per update.
    num_majority: majority images the games were fed with.
  """
  epochs = {
    steps: find_decision_epoch(steps, num_majority, batch_size, len(test))
    for steps in STEPS
  }
  return {
    str(steps): [
      metrics.evaluate_scores(scores, is_minority)['auroc']
      for scores in test[epoch - 1]
    ]
    for steps, epoch in epochs.items()
  }


def choose_by_others(settings: Mapping[str, dict]) -> dict[str, str]:
  """For each setting the steps whose mean AUROC over all others' data sets is highest.

  Settings of the same data set do not vote for each other.
  """
  chosen = {}
  for name, setting in settings.items():
    others = [s for s in settings.values() if s['dataset'] != setting['dataset']]
    means = {
      str(steps): np.mean([np.mean(other['by_steps'][str(steps)]) for other in others])
      for steps in STEPS
    }
    chosen[name] = max(means, key=means.get)
  return chosen


def render(settings: Mapping[str, dict]) -> str:
  """The sweep in Markdown, a column per setting, with the line of the others' choice."""
  rows = [
    [
      f'{steps} (default)' if steps == DECISION_STEPS else str(steps or 'last epoch'),
      *(
        rendering.mean_and_spread(s['by_steps'][str(steps)]) for s in settings.values()
      ),
    ]
    for steps in STEPS
  ]
  chosen = choose_by_others(settings)
  rows.append(
    [
      'chosen on the other data sets',
      *(
        f'{rendering.mean_and_spread(setting["by_steps"][chosen[name]])}'
        f' ({"last" if chosen[name] == "0" else chosen[name]})'
        for name, setting in settings.items()
      ),
    ]
  )
  head = ['updates', *(setting['title'] for setting in settings.values())]
  return (
    'After how many updates: AUROC at the first epoch that ends after so many, mean ±'
    ' standard deviation over games. The last line takes for each data set the number'
    ' that is best, in the mean, on the other data sets.\n\n'
    f'{rendering.markdown_table(head, rows)}'
  )
