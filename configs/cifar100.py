"""CIFAR-100 fine classes 0 (minority) and 1, DenseNet121, Table 5 in parentheses.

  python -m egan_jax.main --config=configs/cifar100.py:RATIO --workdir=DIR

RATIO is 500, 50 (default), 1 or `single`, the table's *1:1 of one image each. The
1:1 row is a single run: 500 images a fold leave no second fold.
"""

from egan_jax import config as egan_config
from egan_jax.errors import UserError

# Imbalance ratio: minority images, majority images, folds (Table 4).
SIZES = {
  '500': (1, 500, 5),
  '50': (10, 500, 5),
  '1': (500, 500, 1),
  'single': (1, 1, 5),
}


def get_config(ratio: str = '50'):
  """The config of one imbalance ratio."""
  if ratio not in SIZES:
    raise UserError(f'ratio {ratio!r}: choose one of {", ".join(SIZES)}')
  config = egan_config.default()
  config.dataset = 'cifar100'
  config.num_minority, config.num_majority, config.num_folds = SIZES[ratio]
  config.nash_threshold = 5  # of 100 test images per class (section 4.1)
  return config
