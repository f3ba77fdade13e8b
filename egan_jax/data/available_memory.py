"""How much memory a process may take."""

from collections.abc import Iterator
from pathlib import Path

import psutil


def available_memory() -> int:
  """Bytes of RAM that are free, or the limit of a container if that is lower."""
  return min([psutil.virtual_memory().available, *read_cgroup_limits()])


def read_cgroup_limits(root: Path = Path('/')) -> Iterator[int]:
  """Memory limits, in bytes, of the control groups this process is in.

  Of both versions (`cgroups(7)`), with the groups around them. What a container
  calls its path may not exist inside of it; the group at the top then has its limit.

  Args:
    root: where `proc` and `sys` are.
  """
  membership = root / 'proc/self/cgroup'
  if not membership.exists():  # only Linux has control groups
    return
  groups = root / 'sys/fs/cgroup'
  for line in membership.read_text().splitlines():
    _, controllers, path = line.split(':', 2)
    if not controllers:
      top, name = groups, 'memory.max'
    elif 'memory' in controllers.split(','):
      top, name = groups / 'memory', 'memory.limit_in_bytes'
    else:
      continue
    group = top / path.lstrip('/')
    for folder in (group, *group.parents):
      if folder.is_relative_to(top) and (folder / name).exists():
        limit = (folder / name).read_text().strip()
        if limit != 'max':
          yield int(limit)
