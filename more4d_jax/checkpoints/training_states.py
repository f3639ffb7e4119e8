"""Checkpoints from which a training run is resumed."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from more4d_jax import errors, locations
from more4d_jax.checkpoints import headers, older_formats

_policies = ocp.checkpoint_managers.preservation_policy


@dataclasses.dataclass(frozen=True)
class Keeping:
  """Which checkpoints stay.

  Attributes:
    newest: this number of the newest.
    best: besides, this number of those with the lowest held-out loss.
    hours: besides, one for each time of this length; 0 for none.
  """

  newest: int = 2
  best: int = 0
  hours: float = 0.0

  def policy(self, losses: Mapping[int, float]) -> Any:
    """The same for Orbax.

    Args:
      losses: step -> held-out loss, of those that were evaluated; may grow.
    """
    found = [_policies.LatestN(self.newest), _Best(self.best, losses)]
    if self.hours:
      found.append(_policies.EveryNSeconds(int(3600 * self.hours)))
    return _policies.AnyPreservationPolicy(found)


@dataclasses.dataclass(frozen=True)
class _Best(_policies.PreservationPolicy):
  """The checkpoints with the lowest losses.

  Attributes:
    count: how many.
    losses: by step.
  """

  count: int
  losses: Mapping[int, float]

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> Sequence[bool]:
    """Says it for each checkpoint."""
    del context
    known = [c.step for c in checkpoints if c.step in self.losses]
    best = sorted(known, key=lambda step: self.losses[step])[: self.count]
    return [c.step in best for c in checkpoints]


class TrainingCheckpoints:
  """Checkpoints of a run: state, loader position and other JSON values."""

  def __init__(
    self,
    directory: str | os.PathLike[str],
    keep: Keeping | None = None,
    losses: Mapping[int, float] | None = None,
    background: bool | None = None,
  ):
    """Opens or makes the directory.

    Args:
      directory: of the checkpoints.
      keep: which stay; to read only, when left out.
      losses: see `Keeping.policy`.
      background: whether `save` returns while it is still being written; None
        for accelerators only.
    """
    self._on_cpu = jax.default_backend() == "cpu"
    if background is None:
      background = not self._on_cpu
    self._background = background
    if keep is None:
      options = ocp.CheckpointManagerOptions(
        read_only=True, save_interval_steps=0, create=False
      )
    else:
      options = ocp.CheckpointManagerOptions(
        preservation_policy=keep.policy({} if losses is None else losses),
        cleanup_tmp_directories=True,
        enable_async_checkpointing=background,
      )
    self._distant = locations.is_distant(directory)
    self._manager = ocp.CheckpointManager(
      locations.absolute(directory), options=options
    )

  def __enter__(self) -> "TrainingCheckpoints":
    """Returns itself."""
    return self

  def __exit__(self, *_: object) -> None:
    """Waits for unfinished writes."""
    self.close()

  def latest_step(self) -> int | None:
    """Returns the newest finished step, or None before the first."""
    return self._manager.latest_step()

  def save(self, step: int, state: Any, extra: Mapping[str, Any]) -> None:
    """Writes one checkpoint unless this step is already there.

    Raises:
      UserError: if the disk has no room for it, or it, or the one before,
        could not be written.
    """
    if step in self._manager.all_steps():
      return
    self._check_space(state)
    if self._background and self._on_cpu:
      # There what is saved would be the very buffer that the next step is
      # given to overwrite.
      state = jax.tree.map(jnp.copy, state)
    with self._writing():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          extra=ocp.args.JsonSave({**extra, "format": headers.FORMAT}),
        ),
      )

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """A failure to write is told in one line."""
    try:
      yield
    except (ValueError, OSError, jax.errors.JaxRuntimeError) as error:
      raise errors.UserError(
        f"could not write a checkpoint to {self._manager.directory} "
        f"({_cause(error)}): free space or mend the disk, then the same "
        f"command goes on; {self._left()}"
      ) from error

  def _check_space(self, state: Any) -> None:
    """Makes sure that the disk holds one more, before it is begun."""
    if self._distant:  # A bucket is never full.
      return
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(self._manager.directory).free
    if free < needed:
      raise errors.UserError(
        f"a checkpoint takes up to {needed / 1e9:.3g} GB and the disk of "
        f"{self._manager.directory} has {free / 1e9:.3g} GB left: free space, "
        f"then the same command goes on; {self._left()}"
      )

  def _left(self) -> str:
    """What a run can go on from."""
    steps = ocp.path.step.checkpoint_steps(self._manager.directory)
    return f"checkpoint {max(steps)} is whole" if steps else "none is there"

  def restore(
    self, abstract_state: Any, step: int | None = None
  ) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint into the shardings of `abstract_state`.

    Args:
      abstract_state: tree of ShapeDtypeStruct with shardings.
      step: which one; the newest by default.

    Raises:
      UserError: if the checkpoint does not fit the state, cannot be read, or is
        an older version's whose rotated values lie elsewhere.
    """
    step = self.latest_step() if step is None else step
    place = f"checkpoint {step} in {self._manager.directory}"
    try:
      self._check(abstract_state, step, place)
      found = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract_state),
          extra=ocp.args.JsonRestore(),
        ),
      )
    except (ValueError, KeyError, OSError) as error:
      raise errors.UserError(
        f"{place} could not be read ({_cause(error)}): look at the disk, its "
        "permissions and the network, then try the same command again"
      ) from error
    older_formats.check_state(abstract_state, found["extra"], place)
    return found["state"], found["extra"]

  def _check(self, abstract_state: Any, step: int, place: str) -> None:
    """Compares the names and shapes of a checkpoint with a state's."""
    with ocp.PyTreeCheckpointer() as checkpointer:
      metadata = checkpointer.metadata(
        self._manager.directory / str(step) / "state"
      ).item_metadata
    if metadata is None:
      raise ValueError("no metadata of the arrays")
    found, wanted = _shapes(metadata.tree), _shapes(abstract_state)
    for name in sorted({*found, *wanted}):
      here, there = wanted.get(name, "nothing"), found.get(name, "nothing")
      if here != there:
        raise errors.UserError(
          f"{place} does not fit this run: {name} has {there} there and {here} "
          "here; use another --workdir, or the config it was started with"
        )

  def wait(self) -> None:
    """Waits for unfinished writes.

    Raises:
      UserError: if one failed.
    """
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for unfinished writes, then ends; see `wait`."""
    self.wait()
    self._manager.close()


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """Path of each array -> its shape, whatever class the nodes have."""

  def part(key: Any) -> str:
    names = (getattr(key, name, None) for name in ("key", "name", "idx"))
    return str(next(name for name in names if name is not None))

  return {
    "/".join(part(key) for key in path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if hasattr(leaf, "shape")
  }


def _cause(error: Exception) -> str:
  """The first line of an error."""
  text = str(error).strip()
  return text.splitlines()[0] if text else type(error).__name__
