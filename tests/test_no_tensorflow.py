"""A run needs neither TensorFlow nor torch, nor the Keras of the tests."""

import subprocess
import sys

from tests.small_runs import FROM_SCRATCH

# As in test_main.py, so that it need not be compiled again.
CHANGES = FROM_SCRATCH | dict(
  dataset='digits', minority_class=8, majority_class=3, num_minority=5
)
_PROGRAM = f"""
import importlib.util, os, sys
from importlib.machinery import PathFinder

ABSENT = {{'tensorflow', 'torch', 'keras'}}
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
  None if name.split('.')[0] in ABSENT else find_spec(name, *rest)
)
assert not any(importlib.util.find_spec(name) for name in ABSENT)

from egan_jax import config as egan_config, pretrained, train
from egan_jax.data import sources

config = egan_config.default()
config.update({CHANGES})
summary = train.train_and_evaluate(config, sys.argv[1])
assert summary['protocols']['honest']['num_folds'] == 1
assert pretrained.load('EfficientNetLite0')['params']['stem_conv']
if 'EGAN_SHARED' in os.environ:
  data_dir = os.path.join(os.environ['EGAN_SHARED'], 'data', 'tfds')
  assert len(sources.load('cifar10', data_dir, 0, 1).minority) == 5000

assert not ABSENT & {{name.split('.')[0] for name in sys.modules}}
"""


def test_run_without_them(tmp_path):
  process = subprocess.run(
    [sys.executable, '-c', _PROGRAM, str(tmp_path / 'run')],
    capture_output=True,
    text=True,
  )
  assert process.returncode == 0, process.stderr
  assert process.stderr == ''
  assert (tmp_path / 'run' / 'summary.json').exists()
