"""A run needs neither TensorFlow nor torch, nor the Keras of the tests."""

import os
import subprocess
import sys

_PROGRAM = """
import importlib.util, os, sys
from importlib.machinery import PathFinder

ABSENT = {'tensorflow', 'torch', 'keras'}
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
  None if name.split('.')[0] in ABSENT else find_spec(name, *rest)
)
assert not any(importlib.util.find_spec(name) for name in ABSENT)

from egan_jax import config as egan_config, pretrained, train
from egan_jax.data import sources

config = egan_config.default()
config.update(
  dataset='digits',
  num_majority=16,
  num_minority=2,
  num_folds=1,
  num_epochs=1,
  batch_size=16,
  image_size=8,
  generator_backbone='SmallConvEncoder',
  discriminator_backbone='SmallConvDiscriminator',
  generator_weights='none',
  discriminator_weights='none',
)
summary = train.train_and_evaluate(config, sys.argv[1])
assert summary['protocols']['honest']['num_folds'] == 1
assert pretrained.load('EfficientNetLite0')['params']['stem_conv']
if 'EGAN_SHARED' in os.environ:
  data_dir = os.path.join(os.environ['EGAN_SHARED'], 'data', 'tfds')
  assert len(sources.load('cifar10', data_dir, 0, 1).minority) == 5000

assert not ABSENT & {name.split('.')[0] for name in sys.modules}
"""


def test_run_without_them(tmp_path):
  process = subprocess.run(
    [sys.executable, '-c', _PROGRAM, str(tmp_path / 'run')],
    capture_output=True,
    text=True,
    env={**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
  )
  assert process.returncode == 0, process.stderr
  assert process.stderr == ''
  assert (tmp_path / 'run' / 'summary.json').exists()
