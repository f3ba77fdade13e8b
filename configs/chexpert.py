"""CheXpert pneumonia (minority) against no pneumonia, DenseNet121, the paper's Table 6.

  python -m egan_jax.main --config=configs/chexpert.py --config.data_dir=DATA_DIR \
    --workdir=DIR

DATA_DIR is a TFDS data folder with the directory `CheXpert-v1.0-small` in its
`downloads/manual`, where TFDS wants it; who may have it signs for it at
https://stanfordmlgroup.github.io/competitions/chexpert/. Which of its images are used,
and that uncertain ones are not, egan_jax/data/chexpert.py says.
"""

from egan_jax import config as egan_config

SIZES = (30, 1080)  # minority and majority images; five folds


def get_config():
  """The config of Table 6."""
  config = egan_config.default()
  config.dataset = 'chexpert'
  config.minority_class = 1
  config.majority_class = 0
  config.num_minority, config.num_majority = SIZES
  return config
