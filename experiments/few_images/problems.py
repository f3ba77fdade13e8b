"""The problems of docs/one_rare_image.md: features of their images, and the draws."""

from collections.abc import Sequence

import numpy as np

from experiments.few_images import store

# Minority, majority, and how many minority images are drawn.
PROBLEMS = {
  'airplane/automobile': ('cifar10', 0, 1, (1, 2, 10, 100)),
  'bird/cat': ('cifar10', 2, 3, (1, 2, 10, 100)),
  'CIFAR-100 0/1': ('cifar100', 0, 1, (1, 2, 10)),
  'chest X-ray': ('xray', 'PNEUMONIA', 'NORMAL', (1, 2, 10, 30)),
}


class Problem:
  """Features of a problem: majority, minority in the order of drawing, and test."""

  def __init__(
    self, name: str, backbones: Sequence[str], size: int, folder: str, mirrored: bool
  ):
    dataset, minority, majority, self.numbers = PROBLEMS[name]

    def load(label, split):
      views = [
        [
          store.load(folder, dataset, label, split, backbone, size, flipped)
          for backbone in backbones
        ]
        for flipped in (False, True)[: 1 + mirrored]
      ]
      return np.mean(
        [np.concatenate(of_backbones, axis=1) for of_backbones in views], axis=0
      )

    self.majority = load(majority, 'train')
    self.minority = store.arrange(load(minority, 'train'), dataset, minority)
    test = load(minority, 'test'), load(majority, 'test')
    self.test = np.concatenate(test)
    self.test_is_minority = np.arange(len(self.test)) < len(test[0])

  def draws(self, n: int, count: int) -> np.ndarray:
    """Disjoint draws `[D, n, C]`, as many as there are images for, at most `count`."""
    return self.minority[self.draw_indices(n, count)]

  def draw_indices(self, n: int, count: int) -> np.ndarray:
    """Of `draws`, int `[D, n]`."""
    count = min(count, len(self.minority) // n)
    # The first n of each stretch, so that larger draws hold the smaller ones.
    stretch = max(n, len(self.minority) // count)
    return stretch * np.arange(count)[:, None] + np.arange(n)
