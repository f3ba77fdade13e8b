"""The benchmark's own code: what it counts, compares and prints."""

import jax.numpy as jnp
import numpy as np
import pytest

from egan_jax.backbones import graph
from egan_jax.backbones.trunk import Trunk
from experiments.benchmark import accelerator, measurements, tables, variants
from experiments.benchmark.jax_worker import Game
from experiments.benchmark.processes import Process


@pytest.fixture
def images(tmp_path):
  return measurements.make_images(tmp_path / 'images.npz', 2, 3, 9, 5)


def test_a_game_trains_all_folds_and_writes_one_for_the_peer(
  tiny_registered, images, tmp_path
):
  path = tmp_path / 'weights.npz'
  game = Game(
    images,
    weights_output=str(path),
    backbone=tiny_registered,
    image_size=16,
    batch_size=4,
  )
  (terms,) = [game.train_step([0, 1, 2, 3], fold=1)]
  epoch = game.train_epoch()
  assert set(epoch) == set(terms)
  assert all(len(folds) == 2 and np.isfinite(folds).all() for folds in epoch.values())
  assert game.score().shape == (2, 5)
  keys = set(np.load(path))
  assert 'generator/params/latent/kernel' in keys
  assert 'discriminator/trunk/params/conv1/kernel' in keys


@pytest.mark.slow
def test_accelerator_script_measures_a_run(tiny_registered, images):
  rate = accelerator.measure_peak_rate('float32', 64)
  run = accelerator.measure_run(
    images, 2, rate, backbone=tiny_registered, image_size=16, batch_size=4
  )
  assert run['seconds']['all'] == pytest.approx(
    sum(run['seconds'][phase] for phase in ('setup', 'compile', 'epochs'))
  )
  assert 0 < run['share_of_floor'] < 1


@pytest.mark.slow
def test_trunk_operations_grow_with_images(tiny_registered, tmp_path):
  def count(num_folds, num_minority, num_majority):
    path = tmp_path / 'images.npz'
    measurements.make_images(path, num_folds, num_minority, num_majority, 5)
    game = Game(str(path), backbone=tiny_registered, image_size=16, batch_size=4)
    return game.count_trunk_operations()

  once = count(1, 1, 4)
  assert count(2, 3, 9) == 2 * 3 * 3 * once


def test_folded_batch_norms_compute_the_same(tiny_backbone, tiny_variables):
  whole, _ = graph.split(tiny_backbone.layers, len(tiny_backbone.layers))
  trunk = Trunk(tiny_variables, whole, 'none', 16)
  folded = variants._fold(trunk)
  assert not {'bn1', 'bn2', 'bn3'} & set(folded.variables['params'])
  images = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 3)), jnp.float32)
  for name, expected in trunk(images).items():
    np.testing.assert_allclose(folded(images)[name], expected, rtol=1e-4, atol=1e-5)


def test_costs_of_a_step_add_up():
  epochs = {
    'num_folds': 5,
    'rounds': {
      name: [{'epoch': seconds, 'evaluate': 1.0}] * 3
      for name, seconds in (('ours', 4.0), ('peer', 40.0))
    },
  }
  trunks = [
    {
      'image_size': 32,
      'batch_size': batch_size,
      'backward': backward,
      'seconds': {
        name: 1e-4 * batch_size * (1 + backward) for name in epochs['rounds']
      },
    }
    for batch_size in (10, 50, 128)
    for backward in (False, True)
  ]
  for name, costs in measurements.split_costs(epochs, trunks).items():
    parts = ('trunk_forward', 'trunk_backward', 'heads_and_the_rest')
    assert sum(costs[part] for part in parts) == pytest.approx(costs['step'])
    assert costs['step'] == pytest.approx(epochs['rounds'][name][0]['epoch'] / 40)
  assert '| frozen layers forward |' in tables.describe(
    {'costs': measurements.split_costs(epochs, trunks)}
  )


def test_a_worker_answers_and_ends():
  with Process(measurements.OURS) as process:
    names = process.ask('boundary')['names']
    assert len(names) == 2  # of DenseNet121
    with pytest.raises(RuntimeError, match='ended at'):
      process.ask('no such command')
