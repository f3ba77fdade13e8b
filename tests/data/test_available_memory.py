"""Memory limits of control groups, in folders laid out as the kernel lays them out."""

import psutil
import pytest

from egan_jax.data import available_memory


def _lay_out(root, membership, limits):
  (root / 'proc/self').mkdir(parents=True)
  (root / 'proc/self/cgroup').write_text(membership)
  for path, limit in limits.items():
    path = root / 'sys/fs/cgroup' / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{limit}\n')


# Version 1 writes no limit as the highest multiple of a page.
_UNLIMITED = 2**63 - 4096
_VERSION_1 = '5:cpu:/far/group\n4:memory:/far/group\n1:name=systemd:/\n'


@pytest.mark.parametrize(
  ('membership', 'limits', 'expected'),
  [
    ('0::/a/b\n', {'a/b/memory.max': 700, 'a/memory.max': 'max'}, [700]),
    ('0::/a/b\n', {'a/b/memory.max': 'max', 'a/memory.max': 600}, [600]),
    ('0::/a/b\n', {'a/b/memory.max': 700, 'a/memory.max': 600}, [700, 600]),
    ('0::/a\n', {'a/memory.max': 700, 'b/memory.max': 1}, [700]),
    # Inside a container.
    ('0::/\n', {'memory.max': 500}, [500]),
    (_VERSION_1, {'memory/memory.limit_in_bytes': 400}, [400]),
    (
      _VERSION_1,
      {
        'memory/far/group/memory.limit_in_bytes': 300,
        'memory/memory.limit_in_bytes': _UNLIMITED,
        'cpu/far/group/memory.limit_in_bytes': 1,
      },
      [300, _UNLIMITED],
    ),
    # Both versions at once: the memory is counted by one of them.
    ('4:cpu,memory:/a\n0::/a\n', {'memory/a/memory.limit_in_bytes': 200}, [200]),
    ('0::/a\n', {}, []),
  ],
)
def test_limits(membership, limits, expected, tmp_path):
  _lay_out(tmp_path, membership, limits)
  assert list(available_memory.read_cgroup_limits(tmp_path)) == expected


def test_systems_without_control_groups(tmp_path):
  assert list(available_memory.read_cgroup_limits(tmp_path)) == []


def test_the_lowest_counts(monkeypatch):
  free = psutil.virtual_memory().available
  monkeypatch.setattr(available_memory, 'read_cgroup_limits', lambda: [10**18])
  assert free / 2 < available_memory.available_memory() < 10**18
  monkeypatch.setattr(available_memory, 'read_cgroup_limits', lambda: [10**18, 1000])
  assert available_memory.available_memory() == 1000
