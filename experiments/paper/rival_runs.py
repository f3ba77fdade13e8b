"""The rivals on the images of a cell: same draws, backbone, weights and features."""

import dataclasses
import functools
import io
import json
from pathlib import Path

import jax
import numpy as np
from absl import logging

from egan_jax import backbones, environment, feature_extractor, rivals, run_files
from egan_jax import state as egan_state
from egan_jax.data import activation_files, sources
from egan_jax.data.activation_cache import ActivationCache
from egan_jax.data.draws import draw
from egan_jax.evaluation.metrics import METRICS
from experiments.paper import rendering
from experiments.paper.cells import PAIRS, Cell
from experiments.paper.runs import COUNTS

KINDS = ('none', 'features', 'all')
_FIELDS = (*METRICS, 'specificity', *COUNTS)


def measure(cell: Cell, seed: int, data_dir: str, runs: Path, kinds: str) -> None:
  """Fits and evaluates the rivals that have not been, and stores them one by one.

  Args:
    cell: whose images.
    seed: of the draws, the network and all fits.
    data_dir: where the images are.
    runs: folder for the results and for features.
    kinds: 'features' for those that read pooled features, or 'all'.
  """
  path = _path(cell, seed, runs)
  done = read(cell, seed, runs)['rivals']
  missing = [
    name
    for name in rivals.names()
    if name not in done
    and (kinds == 'all' or rivals.get(name).reads == rivals.FEATURES)
  ]
  for name in missing:
    compare = (
      _on_features if rivals.get(name).reads == rivals.FEATURES else _on_boundary
    )
    logging.info('%s: %s', path.stem, name)
    done[name] = _find_elsewhere(cell, seed, runs, name) or _describe(
      compare(cell, seed, data_dir, runs, name)
    )
    run_files.write_json(path, {'rivals': done})


def _describe(rows: list[dict]) -> dict:
  here = environment.describe_environment()
  return {
    'rule': rows[0]['threshold_rule'],
    'note': rows[0]['note'],
    'machine': rendering.name_machine(here),
    'commit': rendering.name_commit(here),
    'seconds': sum(row['seconds'] for row in rows),
    **{field: [row['metrics'][field] for row in rows] for field in _FIELDS},
  }


def _find_elsewhere(cell: Cell, seed: int, runs: Path, name: str) -> dict | None:
  """What a rival that sees no minority image did at a ratio of the same majority."""
  if rivals.get(name).looks_at_minority:
    return None
  sizes = PAIRS[cell.pair].sizes
  for ratio in sizes:
    if sizes[ratio][1:] == sizes[cell.ratio][1:]:
      other = dataclasses.replace(cell, ratio=ratio)
      if found := read(other, seed, runs)['rivals'].get(name):
        return found
  return None


def read(cell: Cell, seed: int, runs: Path) -> dict:
  """`rivals` by name: rule, note, machine, commit, seconds, and metrics as lists."""
  path = _path(cell, seed, runs)
  return json.loads(path.read_text()) if path.exists() else {'rivals': {}}


def _path(cell: Cell, seed: int, runs: Path) -> Path:
  return runs / f'{cell.workdir_name(seed)}_rivals.json'


@functools.lru_cache(maxsize=1)
def _load(pair: str, data_dir: str, image_size: int):
  chosen = PAIRS[pair]
  return sources.load(
    chosen.dataset,
    data_dir,
    chosen.minority_class,
    chosen.majority_class,
    image_size=image_size,
  )


def _draw(cell: Cell, seed: int, images):
  num_minority, num_majority, num_folds = PAIRS[cell.pair].sizes[cell.ratio]
  return draw(
    seed,
    num_folds,
    num_minority,
    num_majority,
    len(images.minority),
    len(images.majority),
  )


def _on_features(cell: Cell, seed: int, data_dir: str, runs: Path, name: str) -> list:
  images = _load(cell.pair, data_dir, cell.image_size)
  draws = _draw(cell, seed, images)
  features = _extract(
    cell.pair, cell.backbones[0], cell.image_size, cell.preprocess, data_dir, runs
  )
  return rivals.compare(
    features['majority'][draws.majority],
    features['minority'][draws.minority],
    features['test'],
    images.test_is_minority,
    names=[name],
    seed=seed,
    class_directions=feature_extractor.class_directions(cell.backbones[:1], 'imagenet'),
  )


@functools.lru_cache(maxsize=1)
def _extract(
  pair: str, backbone: str, image_size: int, preprocess: str, data_dir: str, runs: Path
) -> dict[str, np.ndarray]:
  """Features of all images of a pair, kept for its other ratios and seeds."""
  images = _load(pair, data_dir, image_size)
  of_images = images.fingerprint()[:12]
  path = runs / f'features_{pair}_{of_images}_{backbone}_{image_size}_{preprocess}.npz'
  if not path.exists():
    buffer = io.BytesIO()
    np.savez(
      buffer,
      **{
        part: backbones.features(
          backbone, getattr(images, part), image_size=image_size, preprocess=preprocess
        )
        for part in ('minority', 'majority', 'test')
      },
    )
    run_files.write_bytes(path, buffer.getvalue())
  with np.load(path) as file:
    return dict(file)


def _on_boundary(cell: Cell, seed: int, data_dir: str, runs: Path, name: str) -> list:
  del runs
  images = _load(cell.pair, data_dir, cell.image_size)
  draws = _draw(cell, seed, images)
  player = egan_state.make_player(
    backbones.get(cell.backbones[0]),
    'imagenet',
    5,
    cell.preprocess,
    cell.image_size,
    jax.random.key(seed),
  )
  cache = ActivationCache(activation_files.default_folder(), 0.25)
  minority = cache.compute(player.trunk, images.minority[draws.minority.ravel()])
  return rivals.compare(
    cache.compute(player.trunk, images.majority[draws.majority]),
    jax.tree.map(lambda a: a.reshape(*draws.minority.shape, *a.shape[1:]), minority),
    cache.compute(player.trunk, images.test),
    images.test_is_minority,
    rivals.HeadTraining(player, num_epochs=cell.num_epochs),
    names=[name],
    seed=seed,
  )
