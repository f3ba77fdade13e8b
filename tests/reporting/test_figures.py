"""Every figure is a readable PNG, and drawing changes none of its inputs."""

import copy

import matplotlib
import numpy as np
import pytest
from PIL import Image

from egan_jax.evaluation.protocols import HONEST_LABEL, find_last_epochs
from egan_jax.reporting import decision_figures, figures, plotting

RNG = np.random.default_rng(0)


def make_records(epochs_per_fold, majority_total=100):
  records = []
  for fold, epochs in enumerate(epochs_per_fold):
    for epoch in range(1, epochs + 1):
      minority, majority = (int(count) for count in RNG.integers(0, 100, 2))
      record = {
        'fold': fold,
        'epoch': epoch,
        'minority_correct': minority,
        'minority_total': 100,
        'majority_correct': majority,
        'majority_total': majority_total,
        'precision': minority / (minority + majority_total - majority),
        'recall': minority / 100,
        'f1': 2 * minority / (100 + minority + majority_total - majority),
        'generator_loss': float(RNG.random()),
        'discriminator_loss': float(RNG.random()),
      }
      record['discriminator_majority_loss'] = float(RNG.random())
      record['discriminator_generated_loss'] = float(RNG.random())
      records.append(record)
  return records


def check_png(path):
  with Image.open(path) as image:
    assert image.format == 'PNG'
    assert all(300 < side < 2000 for side in image.size)
    # Not blank: some pixels are neither white nor all alike.
    assert np.asarray(image.convert('L')).std() > 5
  assert path.stat().st_size > 5000


def decide(records):
  """The second epoch of each fold, or its first."""
  return [min(2, epoch) for epoch in find_last_epochs(records)]


DRAW_RECORDS = [
  figures.draw_losses,
  figures.draw_correct_counts,
  lambda records, path: figures.draw_precision_recall_f1(
    records, path, decision_epochs=decide(records), label=HONEST_LABEL
  ),
  lambda records, path: figures.draw_confusion_matrix(
    records, path, decision_epochs=decide(records), label=HONEST_LABEL
  ),
]


@pytest.mark.parametrize('draw', DRAW_RECORDS)
@pytest.mark.parametrize(
  'records',
  [
    make_records([30, 30, 30]),
    make_records([1]),
    make_records([2, 5], majority_total=150),
  ],
  ids=['folds', 'one-point', 'stopped-folds'],
)
def test_figures_of_records(draw, records, tmp_path):
  path = tmp_path / 'figures' / 'figure.png'
  before, settings = copy.deepcopy(records), dict(matplotlib.rcParams)
  draw(records, path)
  check_png(path)
  assert records == before
  assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize(
  'scores',
  [
    RNG.normal(size=(5, 60)),
    np.zeros((1, 60)),
    np.full((2, 60), 0.5),
    -RNG.random((1, 60)),
  ],
  ids=['spread', 'all-zero', 'constant', 'all-negative'],
)
def test_score_histogram(scores, tmp_path):
  is_minority = np.arange(60) < 20
  before = scores.copy()
  path = tmp_path / 'scores.png'
  decision_figures.draw_score_histogram(
    scores, is_minority, [0.0], path, label=HONEST_LABEL
  )
  check_png(path)
  np.testing.assert_array_equal(scores, before)


def test_no_bin_of_the_histogram_lies_on_both_sides_of_the_threshold():
  scores, is_minority = RNG.normal(size=(2, 60)), np.arange(60) < 20
  for thresholds in ([0.123], [-7.0], [9.0, 11.0], []):
    edges = decision_figures._choose_edges(scores, is_minority, np.array(thresholds))
    assert np.allclose(np.diff(edges), edges[1] - edges[0])
    assert all(np.isclose(edges, value).any() for value in thresholds[:1])
    assert edges[0] < np.min(thresholds, initial=-1) < edges[-1]
    assert edges[0] < np.max(thresholds, initial=1) < edges[-1]


@pytest.mark.parametrize(
  'shape', [(5, 5, 8, 8, 3), (1, 1, 32, 32, 3), (2, 20, 8, 8, 3)]
)
def test_generated_images(shape, tmp_path):
  minority = RNG.integers(0, 256, shape, np.uint8)
  generated = RNG.random((*shape[:2], 32, 32, 3), np.float32)
  before = minority.copy(), generated.copy()
  path = tmp_path / 'generated.png'
  figures.draw_generated_images(minority, generated, path)
  check_png(path)
  np.testing.assert_array_equal(minority, before[0])
  np.testing.assert_array_equal(generated, before[1])


def test_generated_images_refuses_what_is_no_image_pair(tmp_path):
  images = np.zeros((2, 3, 8, 8, 3))
  with pytest.raises(ValueError, match='one generated image'):
    figures.draw_generated_images(images, images[:, :2], tmp_path / 'x.png')
  with pytest.raises(ValueError, match=r'\[0, 1\]'):
    figures.draw_generated_images(images, images - 1, tmp_path / 'x.png')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('num_epochs', [1, 2, 3, 10, 11, 19, 57, 100, 101, 1000])
def test_epoch_ticks_are_whole_few_and_hold_both_ends(num_epochs):
  axes = plotting.new_axes('title', 'subtitle')
  plotting.set_epoch_axis(axes, num_epochs)
  ticks = axes.get_xticks()
  assert ticks[0] == 1 and ticks[-1] == num_epochs
  assert len(ticks) <= 12
  assert all(tick == int(tick) for tick in ticks)
