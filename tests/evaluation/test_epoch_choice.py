"""The epoch that decides: what it is chosen by."""

import numpy as np
import pytest

from egan_jax.evaluation import epoch_choice


def test_the_epoch_that_ranks_fed_images_best_and_the_latest_of_equals():
  records = [
    {'epoch': epoch, 'fed_auroc': auroc}
    for epoch, auroc in enumerate([0.4, 0.9, 0.9, 0.8], start=1)
  ]
  assert epoch_choice.best_fed(records) == epoch_choice.best_fed(records[::-1]) == 3
  with pytest.raises(ValueError):
    epoch_choice.best_fed([])


def test_auroc_counts_ties_half_and_takes_one_image():
  assert epoch_choice.compute_auroc(np.zeros(1), np.array([1.0, 0.0, -1.0])) == 0.5
  assert epoch_choice.compute_auroc(np.array([-3.0]), np.array([-2.0])) == 1
  with pytest.raises(ValueError, match='finite'):
    epoch_choice.compute_auroc(np.array([np.nan]), np.zeros(2))
