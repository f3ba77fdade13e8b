"""Tables are replaced where their markers stand, and nowhere else."""

import pytest

from experiments import documents


def test_a_table_is_replaced_and_the_text_around_it_kept(tmp_path):
  path = tmp_path / 'page.md'
  marker = documents.marker('table', 'writer')
  path.write_text(f'a\n{marker}| old |\n| --- |\n\nb\n')
  for _ in range(2):
    documents.replace_tables(path, 'writer', {'table': '| new |\n'})
    assert path.read_text() == f'a\n{marker}| new |\n\nb\n'


def test_a_table_that_ends_the_page_leaves_no_row(tmp_path):
  path = tmp_path / 'page.md'
  marker = documents.marker('table', 'writer')
  path.write_text(f'{marker}| old |\n| last |')
  documents.replace_tables(path, 'writer', {'table': '| new |\n'})
  assert path.read_text() == f'{marker}| new |\n'


def test_a_table_without_a_marker_is_not_lost_silently(tmp_path):
  path = tmp_path / 'page.md'
  path.write_text(documents.marker('table', 'writer'))
  with pytest.raises(ValueError, match='no line <!-- other'):
    documents.replace_tables(path, 'writer', {'table': 'x\n', 'other': 'y\n'})
  assert path.read_text() == documents.marker('table', 'writer')
