"""What a run ran on: versions and machine, for its summary."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

_PACKAGES = ('egan_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scikit-learn')


def describe_environment() -> dict:
  """Versions, the code's git commit if there is one, processor, JAX devices."""
  return {
    'commit': _find_commit(),
    'python': platform.python_version(),
    'versions': {package: metadata.version(package) for package in _PACKAGES},
    'machine': f'{platform.system()} {platform.machine()}',
    'processor': _processor_name(),
    'cores': len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count(),
    'devices': [device.device_kind for device in jax.devices()],
  }


def _find_commit() -> str | None:
  """The commit of the checkout this package runs from; '-dirty' if it was changed."""

  def run(*arguments: str) -> str:
    command, folder = ['git', *arguments], Path(__file__).parent
    return subprocess.run(
      command, cwd=folder, capture_output=True, check=True, text=True
    ).stdout.strip()

  try:
    run('ls-files', '--error-unmatch', Path(__file__).name)  # or it is another's
    return run('describe', '--always', '--abbrev=40', '--dirty', '--exclude=*')
  except (OSError, subprocess.CalledProcessError):
    return None


def _processor_name() -> str:
  try:
    with open('/proc/cpuinfo') as file:
      names = [line.split(':', 1)[1] for line in file if line.startswith('model name')]
    return names[0].strip()
  except (OSError, IndexError):
    return platform.processor()
