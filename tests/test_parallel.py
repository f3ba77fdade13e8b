"""Many devices: eight_devices.py in a process that has them, and arithmetic."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egan_jax import config as egan_config
from egan_jax import parallel
from egan_jax.errors import UserError


@pytest.mark.slow
def test_on_eight_devices():
  flags = os.environ.get('XLA_FLAGS', ''), '--xla_force_host_platform_device_count=8'
  process = subprocess.run(
    [
      *(
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '--durations=8',
        '-p',
        'no:cacheprovider',
      ),
      Path(__file__).with_name('eight_devices.py'),
    ],
    env={**os.environ, 'XLA_FLAGS': ' '.join(flags)},
    capture_output=True,
    text=True,
  )
  assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize('num_hosts', range(1, 5))
@pytest.mark.parametrize('available', range(1, 9))
def test_no_smaller_number_of_groups_is_as_fast(num_hosts, available):
  for num_rows in range(1, 40):
    groups = parallel._count_groups(num_rows, num_hosts, available)
    assert 1 <= groups <= available
    shortest = math.ceil(num_rows / (num_hosts * available))
    assert math.ceil(num_rows / (num_hosts * groups)) == shortest
    if groups > 1:
      assert math.ceil(num_rows / (num_hosts * (groups - 1))) > shortest


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'majority_devices': 0}, 'config.majority_devices=0: it must be at least 1'),
    ({'batch_size': 9, 'majority_devices': 2}, 'batch_size=9 cannot be split evenly'),
  ],
)
def test_config(changes, message):
  config = egan_config.default().to_dict()
  assert config['majority_devices'] == 1
  with pytest.raises(UserError, match=message):
    egan_config.check({**config, **changes})
