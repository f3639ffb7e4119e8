"""Trees of arrays on disk, written one array at a time.

A tree is Orbax's. A parameter that is stacked over layers is one array with a
layers axis, as training writes it, or a dictionary with one array per layer
under the keys "0", "1", ..., as conversion writes it. Reading gives one array
in both cases, see `stored_arrays`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from more4d_jax import locations
from more4d_jax.name_maps import matching

# Larger arrays are cut into chunks of this size, which bounds what compressing
# one needs beside it; along their first axis where its parts are not small, so
# that a layer can be read by itself.
_CHUNK_BYTES = 64 << 20
_LARGE_ROW_BYTES = 1 << 20
_GROUP_BYTES = 64 << 20
# What the host holds of arrays on devices while they are written.
_CONCURRENT_GB = 1


@dataclasses.dataclass(frozen=True)
class LazyArray:
  """An array that is read when it is needed.

  Attributes:
    shape: of the array.
    dtype: of its values.
    read: returns the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]

  def astype(self, dtype: np.dtype) -> "LazyArray":
    """The array in another type."""
    read = self.read
    return LazyArray(
      self.shape, dtype, lambda: read().astype(dtype, copy=False)
    )


class _LazyHandler(ocp.type_handlers.NumpyHandler):
  """Writes lazy arrays in turn: one large one, or a few small ones, at once."""

  def __init__(self):
    super().__init__(deepcopy_host_arrays=False)

  async def serialize(
    self,
    values: Sequence[LazyArray],
    infos: Sequence[Any],
    args: Sequence[Any] | None = None,
  ) -> Sequence[Any]:
    """Reads, writes and forgets all arrays."""
    del args
    for group in _groups(values):
      found = [np.ascontiguousarray(values[i].read()) for i in group]
      places = [infos[i] for i in group]
      options = [_chunks(values[i]) for i in group]
      for written in await super().serialize(found, places, options):
        written.result()
    return []


def _bytes(value: Any) -> int:
  return math.prod(value.shape) * np.dtype(value.dtype).itemsize


def _chunks(value: Any) -> ocp.SaveArgs:
  """How an array is cut."""
  size = _bytes(value)
  rows = value.shape[0] if value.shape else 1
  by_row = size > max(_CHUNK_BYTES, rows * _LARGE_ROW_BYTES)
  return ocp.SaveArgs(
    chunk_byte_size=_CHUNK_BYTES, shard_axes=(0,) if by_row else ()
  )


def _groups(values: Sequence[LazyArray]) -> list[list[int]]:
  """Numbers of arrays to write together, each group below a bound or alone.

  Every group is a commit that waits for the disk.
  """
  groups: list[list[int]] = [[]]
  size = 0
  for i, value in enumerate(values):
    own = _bytes(value)
    if groups[-1] and size + own > _GROUP_BYTES:
      groups.append([])
      size = 0
    groups[-1].append(i)
    size += own
  return groups


def _handler() -> ocp.PyTreeCheckpointHandler:
  types = ocp.type_handlers
  registry = types.create_type_handler_registry(
    (LazyArray, _LazyHandler()),
    (jax.Array, types.ArrayHandler()),
    (np.ndarray, types.NumpyHandler()),
  )
  return ocp.PyTreeCheckpointHandler(
    type_handler_registry=registry,
    save_concurrent_gb=_CONCURRENT_GB,
    save_device_host_concurrent_gb=_CONCURRENT_GB,
  )


# Orbax's sign that all was written, which is asked for in buckets. Its text
# tells the folder that the arrays were written to; a checkpoint travels.
_COMMITTED = "commit_success.txt"


def _writable(value: Any) -> Any:
  """A leaf as a type that the handler knows."""
  if isinstance(value, LazyArray | np.ndarray | jax.Array):
    return value
  return LazyArray(value.shape, value.dtype, lambda: np.asarray(value))


def save(directory: locations.Location, tree: Mapping[str, Any]) -> None:
  """Writes a tree.

  Args:
    directory: new.
    tree: nested dict of arrays in memory, `LazyArray`s and arrays that are
      on disk elsewhere; a dict of layers may stand for a stacked array.
  """
  tree = jax.tree.map(_writable, tree)
  options = jax.tree.map(_chunks, tree)
  with ocp.Checkpointer(_handler()) as checkpointer:
    checkpointer.save(directory, args=ocp.args.PyTreeSave(tree, options))
  mark = directory / _COMMITTED
  if mark.exists():
    mark.write_text("The arrays are whole.\n")


def is_stack(value: Any) -> bool:
  """Whether a node of a tree holds the layers of one array."""
  return (
    isinstance(value, Mapping)
    and bool(value)
    and all(key.isdigit() for key in value)
  )


def layers_apart(
  arrays: Mapping[tuple[str, int | None], LazyArray],
) -> dict[str, Any]:
  """The tree that conversion writes.

  Args:
    arrays: (path, layer or None) -> array.
  """
  return matching.unflatten(
    {
      path if layer is None else f"{path}/{layer}": array
      for (path, layer), array in arrays.items()
    }
  )
