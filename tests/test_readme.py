"""What the README shows must run as it stands; links of all pages lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
BUILT = ROOT / 'docs' / 'how_it_is_built.md'
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def test_notebook_example_runs():
  (code,) = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  names = {}
  exec(compile(code, 'README.md', 'exec'), names)
  assert names['scores'].shape == names['images'].test_is_minority.shape
  assert np.isfinite(names['scores']).all()
  assert np.isfinite(list(names['losses'].values())).all()


def _anchors(page):
  """What GitHub calls the headings of a page."""
  text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
  headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
  return {re.sub(r'[^\w -]', '', name.lower()).replace(' ', '-') for name in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  links = re.findall(r'\]\(((?!http)[^)#]*)(?:#([^)]*))?\)', page.read_text())
  for file, anchor in links:
    target = page.parent / file if file else page
    assert target.exists(), file
    assert not anchor or anchor in _anchors(target), f'{file}#{anchor}'


def test_map_of_files_names_files():
  paths = re.findall(r'`((?:egan_jax|experiments|configs)/[^`]*)`', BUILT.read_text())
  assert paths
  assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_config_is_listed():
  configs = ROOT.glob('configs/*.py')
  assert not [path.name for path in configs if f'configs/{path.name}' not in README]
