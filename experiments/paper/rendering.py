"""Numbers as text."""

from collections.abc import Iterable, Sequence

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


def describe_machines(environments: Iterable[dict]) -> str:
  """Each processor with its cores, versions and the commits that ran there, in one line."""
  commits = {}
  for environment in environments:
    versions, cores = environment['versions'], environment['cores']
    machine = (
      f'{cores} core{"s" * (cores > 1)} of {environment["processor"]}'
      f' ({", ".join(environment["devices"])}), Python {environment["python"]},'
      f' JAX {versions["jax"]}'
    )
    commit, dirty, _ = (environment['commit'] or 'unknown').partition('-dirty')
    commits.setdefault(machine, {})[f'{commit[:9]}{dirty}'] = None
  return ' and '.join(
    f'{machine}, egan_jax {", ".join(of_machine)}'
    for machine, of_machine in commits.items()
  )
