"""What the README shows must run as it stands."""

import re
from pathlib import Path

import numpy as np

README = (Path(__file__).parents[1] / 'README.md').read_text()


def test_notebook_example_runs():
  (code,) = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  names = {}
  exec(compile(code, 'README.md', 'exec'), names)
  assert names['scores'].shape == names['images'].test_is_minority.shape
  assert np.isfinite(names['scores']).all()
  assert np.isfinite(list(names['losses'].values())).all()


def test_linked_files_exist():
  links = re.findall(r'\]\(((?!http)[^)#]+)\)', README)
  assert links
  assert not [link for link in links if not (Path(__file__).parents[1] / link).exists()]


def test_every_config_is_listed():
  configs = Path(__file__).parents[1].glob('configs/*.py')
  assert not [path.name for path in configs if f'configs/{path.name}' not in README]
