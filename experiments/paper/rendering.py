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


def name_machine(environment: dict) -> str:
  """Its processor with cores and devices, and versions."""
  versions, cores = environment['versions'], environment['cores']
  return (
    f'{cores} core{"s" * (cores > 1)} of {environment["processor"]}'
    f' ({", ".join(environment["devices"])}), Python {environment["python"]},'
    f' JAX {versions["jax"]}'
  )


def name_commit(environment: dict) -> str:
  """Short, with "-dirty" where tracked files were changed."""
  commit, dirty, _ = (environment['commit'] or 'unknown').partition('-dirty')
  return f'{commit[:9]}{dirty}'


def list_machines(machines_and_commits: Iterable[tuple[str, str]]) -> str:
  """Each machine with the commits that ran there, in one line."""
  commits = {}
  for machine, commit in machines_and_commits:
    commits.setdefault(machine, {})[commit] = None
  return ' and '.join(
    f'{machine}, egan_jax {", ".join(of_machine)}'
    for machine, of_machine in commits.items()
  )


def describe_machines(environments: Iterable[dict]) -> str:
  """As `list_machines`, of environments."""
  return list_machines((name_machine(e), name_commit(e)) for e in environments)
