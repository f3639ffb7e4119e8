"""Trees of arrays on disk, written and read one array at a time.

A tree is Orbax's. A parameter that is stacked over layers is one array with a
layers axis, as training writes it, or a dictionary with one array per layer
under the keys "0", "1", ..., as conversion writes it. Reading gives one array
in both cases.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from more4d_jax.name_maps import matching

# Larger arrays are cut into chunks of this size, which bounds what compressing
# one needs beside it.
_CHUNK_BYTES = 64 << 20
_GROUP_BYTES = 64 << 20


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
    chunked = ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES)
    for group in _groups(values):
      found = [np.ascontiguousarray(values[i].read()) for i in group]
      places = [infos[i] for i in group]
      options = [chunked] * len(group)
      for written in await super().serialize(found, places, options):
        written.result()
    return []


def _groups(values: Sequence[LazyArray]) -> list[list[int]]:
  """Numbers of arrays to write together, each group below a bound or alone.

  Every group is a commit that waits for the disk.
  """
  groups: list[list[int]] = [[]]
  size = 0
  for i, value in enumerate(values):
    own = math.prod(value.shape) * np.dtype(value.dtype).itemsize
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
    (float, types.ScalarHandler()),
    (int, types.ScalarHandler()),
  )
  return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def save(directory: pathlib.Path, tree: Mapping[str, Any]) -> None:
  """Writes a tree.

  Args:
    directory: new.
    tree: nested dict of arrays and `LazyArray`s; a dict of layers may stand
      for a stacked array.
  """
  with ocp.Checkpointer(_handler()) as checkpointer:
    checkpointer.save(directory, args=ocp.args.PyTreeSave(tree))


def _is_stack(value: Any) -> bool:
  return (
    isinstance(value, Mapping)
    and bool(value)
    and all(key.isdigit() for key in value)
  )


def _stack(tree: dict[str, Any]) -> dict[str, Any]:
  """Stacks layers in place and frees the parts of each finished stack."""
  for key, value in tree.items():
    if _is_stack(value):
      parts = [value[str(i)] for i in range(len(value))]
      value.clear()
      stacked = np.empty((len(parts), *parts[0].shape), parts[0].dtype)
      for i in range(len(parts)):
        stacked[i], parts[i] = parts[i], None
      tree[key] = stacked
    elif isinstance(value, dict):
      _stack(value)
  return tree


def _metadata(directory: pathlib.Path) -> Any:
  with ocp.PyTreeCheckpointer() as checkpointer:
    found = checkpointer.metadata(directory).item_metadata
  if found is None:
    raise ValueError("no metadata of the arrays")
  return found.tree


def load(directory: pathlib.Path) -> dict[str, Any]:
  """Reads a tree into host memory, layers stacked.

  Raises:
    ValueError, OSError, KeyError: if it is damaged.
  """
  restore = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), _metadata(directory)
  )
  with ocp.PyTreeCheckpointer() as checkpointer:
    found = checkpointer.restore(
      directory, args=ocp.args.PyTreeRestore(restore_args=restore)
    )
  return _stack(found)


@dataclasses.dataclass(frozen=True)
class StoredArray:
  """An array on disk.

  Attributes:
    shape: with the layers axis of a stacked array.
    dtype: of its values.
    read: returns it, or the layer of the given number.
    apart: whether each layer is stored as an array of its own.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[int | None], np.ndarray]
  apart: bool = False


def open_stored(directory: pathlib.Path) -> dict[str, StoredArray]:
  """The arrays of a tree by path, unread.

  Raises:
    ValueError, OSError, KeyError: if it is damaged.
  """
  spec = _Spec.of(directory)
  found: dict[str, StoredArray] = {}

  def visit(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in tree.items():
      place = (*path, key)
      if _is_stack(value):
        found["/".join(place)] = spec.layers(place, value)
      elif isinstance(value, Mapping):
        visit(value, place)
      else:
        found["/".join(place)] = spec.array(place, value)

  visit(_metadata(directory), ())
  return found


@dataclasses.dataclass(frozen=True)
class _Spec:
  """How the arrays of a tree are opened, which Orbax notes beside them."""

  directory: pathlib.Path
  driver: str
  ocdbt: bool

  @classmethod
  def of(cls, directory: pathlib.Path) -> "_Spec":
    notes = json.loads((directory / "_METADATA").read_text())
    return cls(
      directory,
      "zarr3" if notes.get("use_zarr3") else "zarr",
      (directory / "manifest.ocdbt").exists(),
    )

  def open(self, path: tuple[str, ...]) -> Any:
    name, base = ".".join(path), f"file://{self.directory}/"
    if self.ocdbt:
      store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
      store = {"driver": "file", "path": f"{self.directory / name}/"}
    spec = {"driver": self.driver, "kvstore": store}
    return tensorstore.open(spec, open=True, read=True).result()

  def array(self, path: tuple[str, ...], facts: Any) -> StoredArray:
    def read(layer: int | None = None) -> np.ndarray:
      found = self.open(path)
      return np.asarray(
        (found if layer is None else found[layer]).read().result()
      )

    return StoredArray(tuple(facts.shape), np.dtype(facts.dtype), read)

  def layers(
    self, path: tuple[str, ...], facts: Mapping[str, Any]
  ) -> StoredArray:
    def read(layer: int | None = None) -> np.ndarray:
      if layer is not None:
        return np.asarray(self.open((*path, str(layer))).read().result())
      return np.stack([read(i) for i in range(len(facts))])

    first = facts["0"]
    shape = (len(facts), *first.shape)
    return StoredArray(shape, np.dtype(first.dtype), read, apart=True)


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
