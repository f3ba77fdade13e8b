"""CIFAR-100 at 1:50 with two different backbones: the rows of the paper's Table 3.

  python -m egan_jax.main --config=configs/table3.py:ROW --workdir=DIR

ROW names the discriminator's backbone, then the generator's, as the table's columns
do: resnet101_vgg19 (default), vgg19_resnet101, efficientnetb2_vgg19,
vgg19_efficientnetb2 or resnet101_vgg16.

The headings of the table's two name columns are probably swapped. The first four rows
have their mirror image among them; for that of the last one add
--config.discriminator_backbone=VGG16 --config.generator_backbone=ResNet101.
Two rows repeat cells of Table 5, which are DenseNet121's on CIFAR-100: the fourth
(0.7, 0.86, 0.71) that of 1:50, the first (0.72, 1.0, 0.78) that of 1:1.
"""

from egan_jax import config as egan_config
from egan_jax.errors import UserError

# Discriminator and generator, in the order of the table.
ROWS = {
  'resnet101_vgg19': ('ResNet101', 'VGG19'),
  'vgg19_resnet101': ('VGG19', 'ResNet101'),
  'efficientnetb2_vgg19': ('EfficientNetB2', 'VGG19'),
  'vgg19_efficientnetb2': ('VGG19', 'EfficientNetB2'),
  'resnet101_vgg16': ('ResNet101', 'VGG16'),
}


def get_config(row: str = 'resnet101_vgg19'):
  """The config of one row."""
  if row not in ROWS:
    raise UserError(f'row {row!r}: choose one of {", ".join(ROWS)}')
  config = egan_config.default()
  config.dataset = 'cifar100'
  config.num_minority, config.num_majority = 10, 500
  config.nash_threshold = 5  # of 100 test images per class (section 4.1)
  config.discriminator_backbone, config.generator_backbone = ROWS[row]
  return config
