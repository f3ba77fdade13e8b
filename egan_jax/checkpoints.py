"""Checkpoints of a run, and the one place that says what a run starts from.

The order: the run's own newest checkpoint, else pre-trained weights, else random
ones. A checkpoint holds what comes after the cut; the frozen trunks come from the
weights again, and their fingerprints must be those of the run's first start.

It holds the folds there are, whatever devices and hosts they ran on, so a run may
resume on others.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from egan_jax import hosts, workdir
from egan_jax.errors import UserError
from egan_jax.state import GameState, NetworkState


class _CheckpointManager(ocp.CheckpointManager):
  """One that does not ask JAX's preemption service, which `hosts` turns off."""

  def reached_preemption(self, step: int) -> bool:
    """Never; orbax before 0.12 fails where the service is off."""
    del step
    return False


class Checkpoints:
  """The checkpoints of one run, one per saved epoch; the last two are kept.

  Only the first host reads and writes them; its folder need not be shared.
  """

  def __init__(self, folder: Path, fingerprints: dict[str, str]):
    """Opens a folder.

    Args:
      folder: made if needed.
      fingerprints: SHA-256 of each network's weights before training.
    """
    self._fingerprints = fingerprints
    self._manager = None
    self._folder = folder.absolute()

    def open_manager() -> None:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._manager = _CheckpointManager(
        self._folder,
        options=ocp.CheckpointManagerOptions(
          max_to_keep=2,
          create=False,  # orbax does so for all hosts or none
          multiprocessing_options=ocp.options.MultiprocessingOptions(
            active_processes={0}
          ),
        ),
      )

    self._on_first(open_manager)

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    if kind is None:
      self._on_first(lambda: self._manager.close())
    elif self._manager:
      with contextlib.suppress(OSError, ValueError):  # there is one already
        self._manager.close()

  def _on_first(self, write: Callable[[], None]) -> None:
    """Writes on the first host; `UserError` on all of them if it fails."""

    def explain() -> None:
      with workdir.explain_errors(self._folder.parent):
        try:
          write()
        except ValueError as error:  # TensorStore's for whatever fails
          raise OSError(' '.join(str(error).split())) from error

    hosts.on_first(explain)

  def save(self, epoch: int, states: GameState, deciding: NetworkState) -> None:
    """Saves all folds, NumPy arrays, after an epoch, in the background.

    Args:
      epoch: counted from 1.
      states: of both players, to go on from.
      deciding: the discriminators that decide, as far as the game has come.

    Raises:
      UserError: the disk is full, or what was saved before failed; on all hosts.
    """

    def write() -> None:
      # Asked first, for orbax's threads would tell of it in pages.
      size = sum(leaf.nbytes for leaf in jax.tree.leaves((states, deciding)))
      if size > shutil.disk_usage(self._folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
      self._manager.save(
        epoch,
        args=ocp.args.Composite(
          states=ocp.args.StandardSave(states),
          deciding=ocp.args.StandardSave(deciding),
          fingerprints=ocp.args.JsonSave(self._fingerprints),
        ),
      )

    self._on_first(write)

  def wait(self) -> None:
    """Until all is on the disk.

    Raises:
      UserError: what was saved failed; on all hosts.
    """
    self._on_first(lambda: self._manager.wait_until_finished())

  def restore(
    self, shapes: GameState
  ) -> tuple[tuple[GameState, NetworkState] | None, int]:
    """What was saved last, NumPy arrays, and its epoch; None and 0 if nothing was.

    Args:
      shapes: of the states, as of `jax.eval_shape`.

    Raises:
      UserError: the weights are not those the run began with.
    """
    saved: dict[str, Any] = {}

    def read() -> int:
      epoch = self._manager.latest_step()
      if epoch is not None:
        saved['networks'] = self._read(epoch, shapes)
      return epoch or 0

    epoch = hosts.on_first(read)
    if not epoch:
      return None, 0
    empty = jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, leaf.dtype), (shapes, shapes.discriminator)
    )
    return hosts.broadcast(saved.get('networks', empty)), epoch

  def _read(self, epoch: int, shapes: GameState) -> tuple[GameState, NetworkState]:
    saved = self._manager.restore(
      epoch,
      args=ocp.args.Composite(
        states=ocp.args.StandardRestore(shapes),
        deciding=ocp.args.StandardRestore(shapes.discriminator),
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
    return saved.states, saved.deciding
