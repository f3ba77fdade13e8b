"""What a run ran on: versions and machine, for its summary."""

import os
import platform
from importlib import metadata

import jax

_PACKAGES = ('egan_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scikit-learn')


def describe_environment() -> dict:
  """Versions of Python and packages, processor, cores and JAX devices."""
  return {
    'python': platform.python_version(),
    'versions': {package: metadata.version(package) for package in _PACKAGES},
    'machine': f'{platform.system()} {platform.machine()}',
    'processor': _processor_name(),
    'cores': len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count(),
    'devices': [device.device_kind for device in jax.devices()],
  }


def _processor_name() -> str:
  try:
    with open('/proc/cpuinfo') as file:
      names = [line.split(':', 1)[1] for line in file if line.startswith('model name')]
    return names[0].strip()
  except (OSError, IndexError):
    return platform.processor()
