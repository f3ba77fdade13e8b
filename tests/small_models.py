"""A model small enough to decide in a moment, and images for it."""

import dataclasses

import jax
import numpy as np

from egan_jax import scorers
from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Trunk
from egan_jax.bundle import Bundle
from egan_jax.evaluation.calibration import Calibration
from egan_jax.evaluation.thresholds import Threshold
from egan_jax.feature_extractor import FeatureExtractor

SIZE = 16


def make_bundle(backbone, variables, pooling='average', **changes):
  """A model whose score is one feature, less its median over random images."""
  layers, _ = graph.split(backbone.layers, len(backbone.layers))
  front = FeatureExtractor((Trunk(variables, layers, 'none', SIZE),), (pooling,))
  features = np.asarray(
    jax.jit(lambda f, x: f(x))(front, make_images(64) / np.float32(255))
  )
  best = features.std(axis=0).argmax()
  weights = np.zeros(features.shape[1])
  weights[best] = 10 / features[:, best].std()
  centre = np.median(features, axis=0)
  scorer = scorers.make({'centre': centre, 'weights': weights, 'offset': 0}, 'linear')
  values = {
    'method': 'nearest_class_mean',
    'backbones': (backbone.name,),
    'fine_tune_layers': 0,
    'image_size': SIZE,
    'preprocess': 'scale',
    'front': front,
    'scorer': scorer,
    'threshold': Threshold(0.1, 'zero', 'a promise'),
    'calibration': Calibration(-1.5, -0.25, 3, 40, 'a rough guide'),
    'prior': 0.125,
    'minority_class': 'crow',
    'majority_class': 'raven',
    'training': {},
    'held_out_scores': np.random.default_rng(0).normal(size=199).astype(np.float32),
  }
  return Bundle(**{**values, **changes})


def make_images(number, size=SIZE):
  return np.random.default_rng(1).integers(0, 256, (number, size, size, 3), np.uint8)


def make_careful(model, value=3.0):
  """The model with a threshold that promises a sensitivity."""
  promised = Threshold(value, 'target_sensitivity', 'finds them')
  return dataclasses.replace(model, threshold=promised)
