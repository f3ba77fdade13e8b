"""Runs and rivals of a cell as a folder of runs holds them, without a game played."""

import numpy as np

from egan_jax import run_files, workdir
from egan_jax.evaluation import metrics
from experiments.paper.cells import Cell, make_config

LITE = ('EfficientNetLite0', 'EfficientNetLite0')
CELL = Cell('cifar10_0_1', '500', LITE)
ENVIRONMENT = {
  'cores': 2,
  'processor': 'P',
  'devices': ['cpu'],
  'python': '3',
  'versions': {'jax': '0'},
  'commit': None,
}


def make_records(seed, num_epochs=4, num_folds=5):
  rng = np.random.default_rng(seed)
  is_minority = np.arange(40) < 20
  return [
    {
      'fold': fold,
      'epoch': epoch,
      **metrics.evaluate_scores(rng.normal(size=40) - is_minority, is_minority),
      'fed_auroc': float(rng.random()),
      'generator_loss': 1.0,
      'discriminator_loss': 2.0,
    }
    for epoch in range(1, num_epochs + 1)
    for fold in range(num_folds)
  ]


def write_run(folder, seed, cell=CELL, **changes):
  """A finished workdir, as the trainer leaves it."""
  run = folder / cell.workdir_name(seed)
  config = {**make_config(cell, seed, 'somewhere').to_dict(), **changes}
  run_files.write_json(run / workdir.CONFIG, config)
  records = make_records(seed)
  run_files.append_records(run / workdir.METRICS, records)
  summary = {'seconds': {'train': 1.5}, 'environment': ENVIRONMENT}
  run_files.write_json(run / workdir.SUMMARY, summary)
  return records


def make_rivals(seed):
  rng = np.random.default_rng(seed)
  result = {}
  for name, skill in (
    ('always_minority', 0),
    ('mahalanobis', 0.2),
    ('nearest_class_mean', 3),
  ):
    is_minority = np.arange(40) < 20
    rows = [
      metrics.evaluate_scores(rng.normal(size=40) - skill * is_minority, is_minority)
      for _ in range(5)
    ]
    fields = rows[0]
    result[name] = {field: [row[field] for row in rows] for field in fields}
    result[name]['rule'] = 'target_specificity' if skill else 'zero'
  return result
