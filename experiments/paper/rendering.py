"""Numbers as text."""

from collections.abc import Sequence

import numpy as np

NOT_MEASURED = 'not measured'


def share(value: float | None) -> str:
  """A share with three digits; a dash for none."""
  return '-' if value is None else f'{value:.3f}'


def mean_and_spread(values: Sequence[float]) -> str:
  """Mean ± standard deviation (n - 1) of several values; one value alone."""
  if not len(values):
    return NOT_MEASURED
  if len(values) == 1:
    return share(values[0])
  return f'{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}'


def describe_machine(environment: dict) -> str:
  """Processor, cores and versions in one line."""
  versions, cores = environment['versions'], environment['cores']
  commit, dirty, _ = (environment['commit'] or 'unknown').partition('-dirty')
  return (
    f'{cores} core{"s" * (cores > 1)} of {environment["processor"]}'
    f' ({", ".join(environment["devices"])}), Python {environment["python"]},'
    f' JAX {versions["jax"]}, egan_jax {commit[:9]}{dirty}'
  )
