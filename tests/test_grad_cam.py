"""Grad-CAM in closed form: where the answer can be written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax import bundle, grad_cam, scorers
from egan_jax.backbones import graph
from egan_jax.backbones.graph import Layer
from egan_jax.backbones.trunk import Trunk
from egan_jax.feature_extractor import FeatureExtractor
from egan_jax.models.pooled_head import PooledHead

SIZE = 16
RNG = np.random.default_rng(0)
map_score = jax.jit(grad_cam.map_score)


@pytest.fixture(scope='module')
def image():
  return jnp.asarray(np.random.default_rng(1).random((SIZE, SIZE, 3)), jnp.float32)


def _whole(backbone, variables, image_size=SIZE):
  whole, _ = graph.split(backbone.layers, len(backbone.layers))
  return Trunk(variables, whole, 'none', image_size)


def _linear(num_features):
  return scorers.make(
    {
      'centre': RNG.normal(size=num_features),
      'weights': RNG.normal(size=num_features),
      'offset': RNG.normal(),
    },
    'linear',
  )


def _upsample(values):
  return np.asarray(jax.image.resize(jnp.asarray(values), (SIZE, SIZE), 'bilinear'))


def test_linear_scorer_gives_the_class_activation_map(
  tiny_backbone, tiny_variables, image
):
  """Zhou et al. 2016: the feature maps weighted as the classifier weighs features."""
  trunk = _whole(tiny_backbone, tiny_variables)
  front, scorer = FeatureExtractor((trunk,), ('average',)), _linear(12)
  score, contributions = map_score(front, scorer, image)
  (feature_map,) = trunk(image[None]).values()
  weights = np.asarray(scorer.arrays['weights'])
  np.testing.assert_allclose(
    contributions, _upsample(feature_map[0] @ weights), rtol=1e-4, atol=1e-5
  )
  pooled_score = scorer(front(image[None]))[0]
  np.testing.assert_allclose(score, pooled_score, rtol=1e-6, atol=1e-6)
  # Their mean is the score, but for what no image changes.
  offset = scorer.arrays['offset'] - scorer.arrays['centre'] @ weights
  np.testing.assert_allclose(contributions.mean() + offset, score, rtol=1e-4, atol=1e-6)


def test_maps_of_several_backbones_add_up(tiny_backbone, tiny_variables, image):
  """Of unlike sizes, too: each counts as its share of the score."""
  trunks = tuple(_whole(tiny_backbone, tiny_variables, size) for size in (16, 32))
  scorer = _linear(24)
  _, both = map_score(FeatureExtractor(trunks, ('average',) * 2), scorer, image)
  expected = 0
  for trunk, part in zip(trunks, (slice(0, 12), slice(12, 24)), strict=True):
    (feature_map,) = trunk(image[None]).values()
    expected += _upsample(feature_map[0] @ scorer.arrays['weights'][part])
  np.testing.assert_allclose(both, expected, rtol=1e-4, atol=1e-5)


def test_a_mirror_image_has_the_mirrored_contributions(
  tiny_backbone, tiny_variables, image
):
  trunks = (_whole(tiny_backbone, tiny_variables),)
  front, scorer = FeatureExtractor(trunks, ('average',), mirrored=True), _linear(12)
  score, contributions = map_score(front, scorer, image)
  of_mirrored = map_score(front, scorer, image[:, ::-1])
  np.testing.assert_allclose(of_mirrored[0], score, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    of_mirrored[1][:, ::-1], contributions, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('fine_tune_layers', [0, 3])
def test_a_head_is_explained_by_the_map_it_pools(
  tiny_backbone, tiny_variables, image, fine_tune_layers
):
  layers = tiny_backbone.layers
  before, after = graph.split(layers, len(layers) - fine_tune_layers)

  def choose(of_layers):
    names = {layer.name for layer in of_layers}
    return {
      collection: {name: v for name, v in values.items() if name in names}
      for collection, values in tiny_variables.items()
    }

  trunk = Trunk(choose(before.layers), before, 'none', SIZE)
  head = choose(after.layers)
  kernel, bias = RNG.normal(size=(12, 1)).astype('f'), np.ones(1, np.float32)
  scorer = scorers.Scorer(
    {
      'params': {
        'backbone': head['params'],
        'score': {'kernel': kernel, 'bias': bias},
      },
      'batch_stats': {'backbone': head['batch_stats']},
    },
    'head_logit',
    PooledHead(after, 'average'),
  )
  score, contributions = map_score(trunk, scorer, image)
  (feature_map,) = _whole(tiny_backbone, tiny_variables)(image[None]).values()
  np.testing.assert_allclose(
    contributions, _upsample(feature_map[0] @ kernel[:, 0]), rtol=1e-3, atol=1e-4
  )
  # The score may be far smaller than its terms, and rounding goes with the terms.
  boundary_score = scorer(trunk(image[None]))[0]
  np.testing.assert_allclose(score, boundary_score, rtol=1e-5, atol=1e-6)


def test_the_mean_is_the_tangent_of_any_score(tiny_backbone, tiny_variables, image):
  front = FeatureExtractor((_whole(tiny_backbone, tiny_variables),), ('average',))
  scorer = scorers.make(
    {'centre': RNG.normal(size=12), 'whitening': RNG.normal(size=(12, 5))},
    'mahalanobis',
  )
  score, contributions = map_score(front, scorer, image)
  features = front(image[None])
  gradient = jax.grad(lambda z: scorer(z)[0])(features)
  assert abs(score) > 1e-3
  np.testing.assert_allclose(
    contributions.mean(), jnp.sum(gradient * features), rtol=1e-3
  )


@pytest.mark.parametrize('pooling', ['average', 'flatten'])
def test_the_place_of_the_evidence_is_found(pooling):
  """The map of a backbone without layers is the image: red speaks, blue against."""
  images = (Layer('images', 'input'),)
  whole, _ = graph.split(images, 1)
  front = FeatureExtractor((Trunk({}, whole, 'none', 8),), (pooling,))
  weights = np.array([2.0, 0.0, -1.0])
  if pooling == 'flatten':
    weights = np.tile(weights / 64, 64)
  zeros = np.zeros_like(weights)
  scorer = scorers.make({'centre': zeros, 'weights': weights, 'offset': 0.0}, 'linear')
  image = np.zeros((8, 8, 3), np.float32)
  image[1:3, 1:3, 0] = 1
  image[5:7, 5:7, 2] = 1
  image[0, 7, 1] = 1
  _, contributions = map_score(front, scorer, jnp.asarray(image))
  expected = 2 * image[..., 0] - image[..., 2]
  np.testing.assert_allclose(contributions, expected, atol=1e-6)


def test_it_is_pure_and_of_one_image(tiny_backbone, tiny_variables, image):
  front = FeatureExtractor((_whole(tiny_backbone, tiny_variables),), ('average',))
  scorer = _linear(12)
  images = jnp.stack([image, image[::-1]])
  batched = jax.jit(jax.vmap(map_score, in_axes=(None, None, 0)))
  scores, contributions = batched(front, scorer, images)
  for index, single in enumerate(images):
    score, contribution = map_score(front, scorer, single)
    np.testing.assert_allclose(scores[index], score, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(contributions[index], contribution, atol=1e-5)
  assert bundle.pool(front, scorer, images).shape == (2, 12)
