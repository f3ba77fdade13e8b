"""Importing the package computes nothing."""

import subprocess
import sys

# Devices can be configured, hosts can meet and processes can fork only before JAX has
# started its backend; it refuses the number of devices from then on.
_PROGRAM = """
import importlib, pkgutil
import egan_jax, jax
for module in pkgutil.walk_packages(egan_jax.__path__, 'egan_jax.'):
  importlib.import_module(module.name)
jax.config.update('jax_num_cpu_devices', 3)
assert jax.device_count() == 3
"""


def test_importing_starts_no_device():
  subprocess.run([sys.executable, '-c', _PROGRAM], check=True)
