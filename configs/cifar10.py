"""CIFAR-10 airplane (minority) against automobile, DenseNet121, Tables 1, 2 and 5.

  python -m egan_jax.main --config=configs/cifar10.py:RATIO --workdir=DIR

RATIO is 2500, 1000, 500 (default), 50 or 1: the rows of the paper's Table 4.
"""

from egan_jax import config as egan_config
from egan_jax.errors import UserError

# Imbalance ratio: minority and majority images (Table 4).
SIZES = {
  '2500': (2, 5000),
  '1000': (5, 5000),
  '500': (10, 5000),
  '50': (100, 5000),
  '1': (500, 500),
}


def get_config(ratio: str = '500'):
  """The config of one imbalance ratio."""
  if ratio not in SIZES:
    raise UserError(f'ratio {ratio!r}: choose one of {", ".join(SIZES)}')
  config = egan_config.default()
  config.num_minority, config.num_majority = SIZES[ratio]
  return config
