"""scikit-learn's digits, 8 (minority) against 3, EfficientNetLite0: no download.

python -m egan_jax.main --config=configs/quickstart.py --workdir=DIR
"""

from egan_jax import config as egan_config


def get_config():
  """The config of the quickstart."""
  config = egan_config.default()
  config.dataset = 'digits'
  config.minority_class = 8
  config.majority_class = 3
  config.num_minority = 5
  config.num_majority = 100
  config.generator_backbone = 'EfficientNetLite0'
  config.discriminator_backbone = 'EfficientNetLite0'
  config.nash_threshold = 5
  return config
