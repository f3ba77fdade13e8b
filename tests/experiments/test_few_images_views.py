"""What is seen beside the last map: its place among the features and what is known of it."""

import numpy as np

from egan_jax import feature_extractor
from experiments.few_images import views
from experiments.few_images.views import EARLIER


def test_earlier_maps_come_before_the_last():
  images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  view = views.make_view(32, EARLIER)
  features = feature_extractor.run(view, images)
  assert features.shape == (2, 672 + 1152 + 1280) and view.sizes == (features.shape[1],)
  alone = feature_extractor.run(views.make_view(32, ()), images)
  np.testing.assert_allclose(features[:, -1280:], alone, rtol=1e-5)


def test_classifier_tells_of_the_last_map_only():
  classifier = np.arange(6.0).reshape(3, 2) + 1
  known = views.directions_of([5, 3], classifier)
  np.testing.assert_array_equal(known[[2, 3, 4]], classifier)
  np.testing.assert_array_equal(known[[5, 6, 7]], classifier)
  assert not known[:2].any()


def test_pairs_are_compared_by_number_of_images(monkeypatch):
  rng = np.random.default_rng(0)
  monkeypatch.setitem(views.PAIRS, 'tiny', ('tiny', ((0, 1), (1, 0)), 30))
  features = {
    ('tiny', label): rng.normal(5 + 20 * label, 1, (50, 4)) ** 2 for label in (0, 1)
  }
  found = views.compare(features, None, 'tiny', num_draws=3)
  assert [*found] == ['1', '2', '10']
  assert all(means == {'auroc': 1.0, 'best_f1': 1.0} for means in found.values())
