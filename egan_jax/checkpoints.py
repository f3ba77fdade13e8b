"""Checkpoints of a run, and the one place that says what a run starts from.

The order: the run's own newest checkpoint, else pre-trained weights, else random
ones. A checkpoint holds what comes after the cut; the frozen trunks come from the
weights again, and their fingerprints must be those of the run's first start.
"""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from egan_jax.errors import UserError
from egan_jax.state import GameState


class Checkpoints:
  """The checkpoints of one run, one per saved epoch; the last two are kept."""

  def __init__(self, folder: Path, fingerprints: dict[str, str]):
    """Opens a folder.

    Args:
      folder: made if needed.
      fingerprints: SHA-256 of each network's weights before training.
    """
    self._fingerprints = fingerprints
    self._manager = ocp.CheckpointManager(
      folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
    )

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._manager.wait_until_finished()
    self._manager.close()

  def save(self, epoch: int, states: GameState) -> None:
    """Saves all folds' states after an epoch, in the background."""
    self._manager.save(
      epoch,
      args=ocp.args.Composite(
        states=ocp.args.StandardSave(states),
        fingerprints=ocp.args.JsonSave(self._fingerprints),
      ),
    )

  def restore(self, states: GameState) -> tuple[GameState, int]:
    """The newest saved states and their epoch, or `states` as given and 0.

    Raises:
      UserError: the weights are not those the run began with.
    """
    epoch = self._manager.latest_step()
    if epoch is None:
      return states, 0
    saved = self._manager.restore(
      epoch,
      args=ocp.args.Composite(
        states=ocp.args.StandardRestore(
          jax.tree.map(ocp.utils.to_shape_dtype_struct, states)
        ),
        fingerprints=ocp.args.JsonRestore(),
      ),
    )
    if saved.fingerprints != self._fingerprints:
      changed = sorted(
        name
        for name, value in self._fingerprints.items()
        if saved.fingerprints.get(name) != value
      )
      raise UserError(
        f'the weights of the {" and ".join(changed)} are not those this run began with:'
        ' give it the same weight file, or another workdir'
      )
    return saved.states, epoch
