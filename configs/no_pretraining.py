"""CIFAR-100 at 1:50 without pre-training: the paper's Fig. 5 and what follows it.

  python -m egan_jax.main --config=configs/no_pretraining.py:WITHOUT --workdir=DIR

WITHOUT is `discriminator` (default; Fig. 5: the generator keeps its pre-trained
DenseNet121) or `both`. The players that go without are the authors' small
convolutional networks.

As the authors had it, the discriminator ends in a sigmoid. Its scores are never
below 0, so every test image is called majority whatever was learned (see
docs/sigmoid_head.md). For the fair version, with a logit, add
--config.head_activation=linear
"""

from egan_jax import config as egan_config
from egan_jax.errors import UserError

WITHOUT = ('discriminator', 'both')


def get_config(without: str = 'discriminator'):
  """The config with one player or both without pre-training."""
  if without not in WITHOUT:
    raise UserError(f'without {without!r}: choose one of {", ".join(WITHOUT)}')
  config = egan_config.default()
  config.dataset = 'cifar100'
  config.num_minority, config.num_majority = 10, 500
  config.nash_threshold = 5  # of 100 test images per class (section 4.1)
  config.discriminator_backbone = 'SmallConvDiscriminator'
  config.discriminator_weights = 'none'
  config.head_activation = 'sigmoid'
  config.dropout_rate = 0.0  # the small discriminator has dropout of its own
  if without == 'both':
    config.generator_backbone = 'SmallConvEncoder'
    config.generator_weights = 'none'
  return config
