"""What the paper publishes, as numbers, with the table each stands in.

Okerinde, Shamir, Hsu, Theis, Nafi: "eGAN: Unsupervised approach to class imbalance
using transfer learning". All test figures below are an oracle's: their epochs were
chosen on test labels. `read_author_curves` gives the per-epoch counts of four single
runs that are stored in the authors' public notebooks.
"""

import functools
import json
from pathlib import Path

# Predicted minority and majority of the actual minority; then of the actual majority.
CONFUSION = {
  1: {'ratio': '1000', 'epoch': 6, 'counts': ((810, 190), (366, 634))},
  2: {'ratio': '2500', 'epoch': 5, 'counts': ((821, 179), (767, 233))},
}

# Table 3, CIFAR-100 at 1:50. Discriminator, generator, precision, recall, F1. The two
# name columns are probably swapped; rows 1 and 4 repeat cells of Table 5.
TABLE_3 = (
  ('ResNet101', 'VGG19', 0.72, 1.0, 0.78),
  ('VGG19', 'ResNet101', 0.73, 1.0, 0.69),
  ('EfficientNetB2', 'VGG19', 1.0, 0.22, 0.32),
  ('VGG19', 'EfficientNetB2', 0.7, 0.86, 0.71),
  ('ResNet101', 'VGG16', 1.0, 0.17, 0.27),
)

# Table 4. Training minority and majority, test minority and majority.
TABLE_4 = {
  'cifar10': {
    '2500': (2, 5000, 1000, 1000),
    '1000': (5, 5000, 1000, 1000),
    '500': (10, 5000, 1000, 1000),
    '50': (100, 5000, 1000, 1000),
    '1': (500, 500, 1000, 1000),
  },
  'cifar100': {
    '500': (1, 500, 100, 100),
    '50': (10, 500, 100, 100),
    '1': (500, 500, 100, 100),
    'single': (1, 1, 100, 100),
  },
}

# Table 5. Precision, recall, F1: each the maximum over epochs of the mean over five
# folds. The 1:1 row of CIFAR-100 is one run: 500 images leave no second fold.
TABLE_5 = {
  'cifar10': {
    '2500': (0.72, 0.94, 0.69),
    '1000': (0.72, 0.96, 0.69),
    '500': (0.75, 0.95, 0.70),
    '50': (0.78, 0.97, 0.69),
    '1': (0.82, 0.98, 0.72),
  },
  'cifar100': {
    '500': (0.60, 0.96, 0.68),
    '50': (0.70, 0.86, 0.71),
    '1': (0.72, 1.0, 0.78),
    'single': (0.53, 0.86, 0.63),
  },
}

# Table 6, CheXpert pneumonia: 30 and 1,080 training images, 1,000 + 1,000 of the test.
TABLE_6 = {'eGAN': (0.51, 0.97, 0.67), 'baseline': (0.5, 1.0, 0.67)}


@functools.cache
def read_author_curves() -> dict:
  """The authors' stored curves: counts of correct test images per epoch, by run."""
  return json.loads((Path(__file__).parent / 'author_curves.json').read_text())
