"""Separable images for the tiny backbone, as every kind of rival reads them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.rivals import HeadTraining
from egan_jax.steps import Boundary

IMAGE_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Images:
  """Boundary activations: M majority, D draws of n minority, T test images."""

  majority: Boundary
  minority: Boundary
  test: Boundary
  is_minority: np.ndarray


@pytest.fixture(scope='package')
def make_activations(tiny_player):
  """Activations of n images: dark vertical stripes for the minority, or horizontal."""
  trunk = jax.jit(lambda images: tiny_player.trunk(images))

  def make(seed, num_images, minority):
    rng = np.random.default_rng(seed)
    stripes = np.sin(np.arange(IMAGE_SIZE)) > 0
    pattern = 0.5 * np.where(minority, stripes[:, None], stripes) + 0.2 * minority
    noise = rng.normal(scale=0.05, size=(num_images, IMAGE_SIZE, IMAGE_SIZE, 3))
    images = np.clip(pattern[None, ..., None] * np.ones(3) + noise, 0, 1)
    return trunk(images.astype(np.float32))

  return make


@pytest.fixture(scope='package')
def images(make_activations) -> Images:
  parts = make_activations(3, 60, False), make_activations(4, 40, True)
  return Images(
    majority=make_activations(1, 90, False),
    minority=jax.tree.map(
      lambda a: a.reshape(2, 3, *a.shape[1:]), make_activations(2, 6, True)
    ),
    test=jax.tree.map(lambda *both: jnp.concatenate(both), *parts),
    is_minority=np.arange(100) >= 60,
  )


@pytest.fixture(scope='package')
def training(tiny_player) -> HeadTraining:
  return HeadTraining(tiny_player, num_epochs=40, batch_size=32, learning_rate=3e-2)


@pytest.fixture(scope='session')
def blobs():
  """Features of 60 majority and 5 minority images, 7-dimensional, 80 of the test."""
  rng = np.random.default_rng(0)
  spread = rng.normal(size=(7, 7))
  majority, minority, test = (rng.normal(size=(n, 7)) @ spread for n in (60, 5, 80))
  return majority, minority + 2, test + np.linspace(-1, 3, 80)[:, None]
