"""Tables within documents that are otherwise written by hand."""

import re
from collections.abc import Mapping
from pathlib import Path


def replace_tables(document: Path, command: str, tables: Mapping[str, str]) -> None:
  """Replaces in a file what stands after the marker of each table.

  Args:
    document: Markdown, with a line `marker(name, command)` before every table.
    command: the module that writes them.
    tables: Markdown by name, each ending in a line break.

  Raises:
    ValueError: a table without its marker; nothing is written.
  """
  text = document.read_text()
  for name, table in tables.items():
    text = replace_table(text, marker(name, command), table)
  document.write_text(text)


def marker(name: str, command: str) -> str:
  """The line before a table."""
  return f'<!-- {name}: written by {command} -->\n'


def replace_table(text: str, marker: str, table: str) -> str:
  """The text with another table after the marker.

  Raises:
    ValueError: no such marker.
  """
  if marker not in text:
    raise ValueError(f'the document has no line {marker.strip()}')
  return re.sub(re.escape(marker) + r'(\|.*(\n|$))*', lambda _: marker + table, text)
