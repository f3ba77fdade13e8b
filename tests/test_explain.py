"""Explanations: the decision is the model's own and the neighbours are the nearest."""

import dataclasses
import itertools
import math
import os
import warnings

import jax
import numpy as np
import pytest
from PIL import Image

from egan_jax import explain, rivals, scorers
from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Trunk
from egan_jax.bundle import Bundle, references
from egan_jax.errors import UserError
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.reporting import plotting

SIZE = 16
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope='module')
def model(tiny_backbone, tiny_variables):
  """Linear in the features, with the threshold at the median of `IMAGES`."""
  whole, _ = graph.split(tiny_backbone.layers, len(tiny_backbone.layers))
  front = FeatureExtractor((Trunk(tiny_variables, whole, 'none', SIZE),), ('average',))
  arrays = {'centre': np.zeros(12), 'weights': RNG.normal(size=12), 'offset': 0.0}
  model = Bundle(
    method='nearest_class_mean',
    backbones=('Tiny',),
    fine_tune_layers=0,
    image_size=SIZE,
    preprocess='scale',
    front=front,
    scorer=scorers.make(arrays, 'linear'),
    threshold=Threshold(0.0, 'zero', ''),
    calibration=Calibration(0.5, -2.0, 3, 40, 'a rough guide'),
    prior=0.25,
    minority_class='rare $ $x^$',
    majority_class='ordinary',
    training={},
  )
  names = [f'folder/{i}.png' for i in range(10)]
  model = dataclasses.replace(
    model,
    references=references.make(
      _compute_features(model, IMAGES[:10]), IMAGES[:10], np.arange(10) < 4, names
    ),
  )
  median = float(np.median(_score(model, IMAGES)))
  return dataclasses.replace(model, threshold=Threshold(median, 'zero', ''))


def _compute_features(model, images):
  return np.asarray(jax.jit(model.features)(images / np.float32(255)))


def _score(model, images):
  return np.asarray(jax.jit(model.score)(images / np.float32(255)))


def test_the_decision_is_the_models_own(model):
  called = []
  for image, score in zip(IMAGES, _score(model, IMAGES), strict=True):
    explanation = explain.explain_image(model, image)
    np.testing.assert_allclose(explanation.score, score, rtol=1e-4)
    assert explanation.is_minority == (explanation.score < model.threshold.value)
    np.testing.assert_allclose(
      explanation.p_minority,
      model.calibration.probabilities(explanation.score, model.prior),
    )
    called.append(explanation.is_minority)
  assert 0 < sum(called) < len(called)


def test_evidence_is_for_the_decision_that_was_made(model):
  """At another threshold the other class is called, and the rest of the map shown."""
  image = IMAGES[0]
  low, high = (
    dataclasses.replace(model, threshold=Threshold(value, '', ''))
    for value in (-math.inf, math.inf)
  )
  for_majority = explain.explain_image(low, image)
  for_minority = explain.explain_image(high, image)
  assert not for_majority.is_minority
  assert for_minority.is_minority
  assert for_majority.evidence.shape == (SIZE, SIZE)
  for explanation in (for_majority, for_minority):
    assert explanation.evidence.min() == 0
    assert explanation.evidence.max() > 0
  assert not (for_majority.evidence * for_minority.evidence).any()


@pytest.mark.parametrize('is_minority', [True, False])
def test_neighbours_are_the_nearest_of_their_class(model, is_minority):
  features = RNG.normal(size=12).astype(np.float32)
  kept = model.references
  nearest = explain.find_nearest(kept, features, is_minority)
  cosines = {
    kept.names[i]: np.dot(kept.features[i], features)
    / np.linalg.norm(kept.features[i])
    / np.linalg.norm(features)
    for i in range(10)
    if kept.is_minority[i] == is_minority
  }
  expected = sorted(cosines, key=cosines.get, reverse=True)[:3]
  assert nearest.names == tuple(expected)
  np.testing.assert_allclose(
    nearest.similarities, [cosines[name] for name in expected], rtol=1e-5
  )
  for name, thumbnail in zip(nearest.names, nearest.thumbnails, strict=True):
    np.testing.assert_array_equal(thumbnail, kept.thumbnails[kept.names.index(name)])


def test_an_image_is_its_own_nearest(model):
  explanation = explain.explain_image(model, IMAGES[6])
  assert explanation.nearest_majority.names[0] == 'folder/6.png'
  np.testing.assert_allclose(explanation.nearest_majority.similarities[0], 1, rtol=1e-5)


def test_features_of_zeros_are_like_nothing(model):
  nearest = explain.find_nearest(model.references, np.zeros(12, np.float32), True)
  np.testing.assert_array_equal(nearest.similarities, 0)
  assert explain.find_nearest(None, np.zeros(12), True) is None


def test_panels(model, tmp_path):
  """One per image that can be read, whatever it is called and its size."""
  not_utf_8 = os.fsdecode(b'c\xe4.jpg')
  names = ['a$b.png', not_utf_8, 'broken.png', f'{"long" * 50}.png', f'{"中" * 80}.png']
  sizes = [(16, 16), (40, 9), (0, 0), (8, 8), (8, 8)]
  for name, size in zip(names, sizes, strict=True):
    if name == 'broken.png':
      (tmp_path / name).write_bytes(b'no image')
    else:
      Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / name)
  references = dataclasses.replace(
    model.references, names=(not_utf_8,) * len(model.references.names)
  )
  model = dataclasses.replace(model, references=references)
  with warnings.catch_warnings(action='error', category=UserWarning):
    panels = explain.explain(model, [tmp_path / n for n in names], tmp_path / 'panels')
  assert [panel and panel.name[:7] for panel in panels] == [
    '00000_a',
    '00001_c',
    None,
    '00003_l',
    '00004_中',
  ]
  assert sorted(p for p in panels if p) == sorted((tmp_path / 'panels').iterdir())
  for panel in panels:
    if panel:
      with Image.open(panel) as image:
        assert image.format == 'PNG'
        assert image.width > image.height > 300
        assert np.asarray(image.convert('L')).std() > 5


def test_long_names_are_told_and_cover_nothing(model, tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(plotting, 'save_figure', lambda axes, _: drawn.append(axes))
  long = 'pneumonia_of_bacteria_or_of_viruses'
  model = dataclasses.replace(model, minority_class=long, majority_class=long + '2')
  # As a DICOM identifier, which has no blank to part it at.
  path = tmp_path / f'1.2.826.0.1.3680043.8.498.{"4578" * 9}.png'
  Image.fromarray(IMAGES[0]).save(path)
  explain.explain(model, [path], tmp_path)
  (axes,) = drawn
  title = axes.get_title(loc='left').replace('\n', '')
  assert title.startswith(path.name) and long in title
  axes.figure.draw_without_rendering()
  boxes = [text.get_window_extent() for text in axes.texts]
  overlapping = [
    (one, other)
    for one, other in itertools.combinations(boxes, 2)
    if one.overlaps(other)
  ]
  assert len(boxes) > 10 and not overlapping


def test_a_model_without_references_and_calibration(model, tmp_path):
  bare = dataclasses.replace(model, references=None, calibration=None)
  Image.fromarray(IMAGES[0]).save(tmp_path / 'a.png')
  (small,) = explain.explain(bare, [tmp_path / 'a.png'], tmp_path / 'bare')
  (large,) = explain.explain(model, [tmp_path / 'a.png'], tmp_path / 'full')
  with Image.open(small) as image, Image.open(large) as other:
    assert image.width < 0.8 * other.width
  assert len(explain.describe(bare, explain.explain_image(bare, IMAGES[0]))) == 1


def test_a_folder_that_cannot_be_written_to(model, tmp_path):
  Image.fromarray(IMAGES[0]).save(tmp_path / 'a.png')
  with pytest.raises(UserError, match='cannot write'):
    explain.explain(model, [tmp_path / 'a.png'], tmp_path / 'a.png')


@pytest.mark.parametrize('name', ['plda', 'plda_knn', 'fusion'])
def test_a_likelihood_ratio_is_said_where_it_is_modelled(model, name):
  explanation = explain.explain_image(model, IMAGES[0])
  assert explanation.log_ratio is None
  assert not any('likely' in line for line in explain.describe(model, explanation))
  features = _compute_features(model, IMAGES)
  fit = rivals.get(name).fit(features[4:], features[:4])
  other = dataclasses.replace(model, scorer=fit)
  explanation = explain.explain_image(other, IMAGES[0])
  alone = rivals.get('plda').fit(features[4:], features[:4])
  assert explanation.log_ratio == pytest.approx(alone.scores(features)[0], rel=1e-3)
  assert 'likely' in explain.describe(other, explanation)[-1]


@pytest.mark.parametrize(
  ('log_ratio', 'says'),
  [
    (0.0, 'as likely in a as in b'),
    (math.log(20), '20 times as likely in b as in a'),
    (-math.log(2.5), '2.5 times as likely in a as in b'),
    (-math.log(1234), '1,234 times as likely in a as in b'),
    (1e4, 'more than a million times as likely in b as in a'),
    (-math.inf, 'more than a million times as likely in a as in b'),
  ],
)
def test_a_likelihood_ratio_in_words(log_ratio, says):
  """The log-likelihood ratio of the majority `b` to the minority `a`."""
  assert explain.describe_ratio(log_ratio, 'a', 'b').endswith(says)


def test_explaining_compiles_once(model):
  explain.explain_image(model, IMAGES[0])
  before = explain._examine._cache_size()
  for image in IMAGES[:3]:
    explain.explain_image(model, image)
  assert explain._examine._cache_size() == before
