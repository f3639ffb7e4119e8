"""Checkpoints from which a training run is resumed."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from more4d_jax import errors
from more4d_jax.checkpoints import headers, older_formats


class TrainingCheckpoints:
  """Checkpoints of a run: state, loader position and other JSON values."""

  def __init__(self, directory: str | os.PathLike[str], *, keep: int):
    """Opens or makes the directory; the newest `keep` checkpoints stay."""
    # Copies are synchronous on CPU: there the saved buffer could be the very
    # one that the next step is given to overwrite.
    self._manager = ocp.CheckpointManager(
      pathlib.Path(directory).absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        enable_async_checkpointing=jax.default_backend() != "cpu",
      ),
    )

  def latest_step(self) -> int | None:
    """Returns the newest finished step, or None before the first."""
    return self._manager.latest_step()

  def save(self, step: int, state: Any, extra: Mapping[str, Any]) -> None:
    """Writes one checkpoint unless this step is already there."""
    if step in self._manager.all_steps():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        extra=ocp.args.JsonSave({**extra, "format": headers.FORMAT}),
      ),
    )

  def restore(
    self, abstract_state: Any, step: int | None = None
  ) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint into the shardings of `abstract_state`.

    Args:
      abstract_state: tree of ShapeDtypeStruct with shardings.
      step: which one; the newest by default.

    Raises:
      UserError: if the checkpoint does not fit the state, or is an older
        version's whose rotated values lie elsewhere.
    """
    step = self.latest_step() if step is None else step
    try:
      found = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract_state),
          extra=ocp.args.JsonRestore(),
        ),
      )
    except (ValueError, KeyError, OSError) as error:
      line = str(error).splitlines()[0] if str(error) else type(error).__name__
      raise errors.UserError(
        f"checkpoint {step} in {self._manager.directory} does not fit this "
        f"run ({line}): delete it, or use another --workdir"
      ) from error
    place = f"checkpoint {step} in {self._manager.directory}"
    older_formats.check_state(abstract_state, found["extra"], place)
    return found["state"], found["extra"]

  def close(self) -> None:
    """Waits for unfinished writes."""
    self._manager.wait_until_finished()
    self._manager.close()
