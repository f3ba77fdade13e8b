"""Games side by side on many devices: the mesh, and what lies where on it.

A row is one game; today, a fold. Rows are split over the first axis of the mesh and
have nothing to say to each other. Over the second, where it has more than one
device, the batches of each row's discriminator are split. What all rows read, the
frozen trunk and the majority's activations, every device holds whole.

Outside the compiled functions nothing depends on the mesh: `Layout.split` takes the
rows there are, and `Layout.gather` gives them back, the same on every host.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from egan_jax.errors import UserError

ROWS = PartitionSpec('folds')
SHARED = PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where the rows of a run are.

  Attributes:
    mesh: axes 'folds' and 'majority', with equally many devices of every host.
    num_rows: the games there are. Copies of the last one fill up the devices.
  """

  mesh: Mesh
  num_rows: int

  def split(self, tree: Any) -> Any:
    """Arrays `[num_rows, ...]`, to each device its rows."""
    padding = -self.num_rows % self.mesh.shape['folds']
    if padding:
      rows = np.minimum(np.arange(self.num_rows + padding), self.num_rows - 1)
      tree = jax.tree.map(lambda a: a[rows], tree)
    return self._place(tree, ROWS)

  def share(self, tree: Any) -> Any:
    """Arrays of any shape, to each device all of them."""
    return self._place(tree, SHARED)

  def _place(self, tree: Any, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(self.mesh, spec)

    def place(array):
      # Unlike `device_put`, this sends nothing from host to host to compare it.
      return jax.make_array_from_callback(
        array.shape, sharding, lambda index: array[index]
      )

    return jax.tree.map(place, tree)

  def gather(self, tree: Any) -> Any:
    """What `split` made, as NumPy copies `[num_rows, ...]` on every host."""
    if jax.process_count() > 1:
      tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(lambda a: np.array(a[: self.num_rows]), tree)

  def jit(self, function: Callable, in_specs: tuple, donate_argnums: tuple = ()):
    """A function of rows, compiled so that every device computes its own.

    Args:
      function: returns arrays whose leading axis is the rows.
      in_specs: `ROWS` or `SHARED` for each of its arguments.
      donate_argnums: as of `jax.jit`.
    """
    return jax.jit(
      jax.shard_map(
        function,
        mesh=self.mesh,
        in_specs=in_specs,
        out_specs=ROWS,
        axis_names={'folds'},
        check_vma=False,
      ),
      donate_argnums=donate_argnums,
    )


def lay_out(num_rows: int, majority_devices: int = 1) -> Layout:
  """Spreads rows over all hosts' devices, over as few as give the shortest time.

  Args:
    num_rows: games to play side by side.
    majority_devices: devices, of the same host, that share a row's batches.

  Raises:
    UserError: no host has that many devices.
  """
  hosts = defaultdict(list)
  for device in jax.devices():
    hosts[device.process_index].append(device)
  available = min(len(devices) for devices in hosts.values())
  if available < majority_devices:
    raise UserError(
      f'config.majority_devices={majority_devices} is more than the devices of a host:'
      f' {available}'
    )
  groups = _count_groups(num_rows, len(hosts), available // majority_devices)
  chosen = [hosts[host][: groups * majority_devices] for host in sorted(hosts)]
  mesh = Mesh(np.reshape(chosen, (-1, majority_devices)), ('folds', 'majority'))
  return Layout(mesh, num_rows)


def _count_groups(num_rows: int, num_hosts: int, available: int) -> int:
  """How many groups of devices each host needs, of those it has available."""
  rows_per_group = -(-num_rows // (num_hosts * available))
  return -(-num_rows // (num_hosts * rows_per_group))
