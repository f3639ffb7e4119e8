"""Arrays of a tree on disk that are read where they are indexed."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from more4d_jax import errors, locations
from more4d_jax.checkpoints import array_trees

# What reading damaged files raises.
_DAMAGES = (ValueError, OSError, KeyError)

Index = tuple[slice, ...]
_Position = int | slice | EllipsisType


@dataclasses.dataclass(frozen=True, eq=False)
class StoredArray:
  """An array that is read, and perhaps changed, where it is indexed.

  NumPy takes it where it takes arrays, and then reads all of it.

  Attributes:
    shape: with the layers axis of a stacked array.
    dtype: of its values.
    read: returns a part: one slice with a start, a stop and no step for each
      axis.
    rows: how many positions of the first axis are stored together, so that
      reading fewer of them costs as much.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[Index], np.ndarray]
  rows: int = 1

  @property
  def ndim(self) -> int:
    """Number of axes."""
    return len(self.shape)

  @property
  def size(self) -> int:
    """Number of values."""
    return math.prod(self.shape)

  @property
  def nbytes(self) -> int:
    """Bytes of all values."""
    return self.size * self.dtype.itemsize

  def __getitem__(self, index: _Position | tuple[_Position, ...]) -> np.ndarray:
    """Reads a part, as NumPy's basic indexing without steps."""
    given = index if isinstance(index, tuple) else (index,)
    if ... in given:
      at, missing = given.index(...), self.ndim - len(given) + 1
      given = given[:at] + (slice(None),) * missing + given[at + 1 :]
    given += (slice(None),) * (self.ndim - len(given))
    slices = tuple(
      _as_slice(part, size)
      for part, size in zip(given, self.shape, strict=True)
    )
    kept = tuple(slice(None) if isinstance(g, slice) else 0 for g in given)
    return self.read(slices)[kept]

  def __array__(
    self, dtype: Any = None, copy: bool | None = None
  ) -> np.ndarray:
    """Reads everything; NumPy calls this."""
    if copy is False:
      raise ValueError("an array on disk cannot be had without a copy")
    return np.asarray(self[...], dtype)


def _as_slice(part: int | slice, size: int) -> slice:
  if isinstance(part, slice):
    start, stop, step = part.indices(size)
    if step != 1:
      raise ValueError(f"expected no step in an index, found {step}")
    return slice(start, max(start, stop))
  place = range(size)[part]
  return slice(place, place + 1)


def changed(
  array: Any,
  read: Callable[[Index], np.ndarray],
  dtype: np.dtype | None = None,
) -> StoredArray:
  """An array of the same shape whose parts are read in another way.

  Args:
    array: NumPy's or a stored one.
    read: see `StoredArray`.
    dtype: of the result, the array's own when left out.
  """
  return StoredArray(
    tuple(array.shape),
    np.dtype(dtype or array.dtype),
    read,
    getattr(array, "rows", 1),
  )


def cast(array: Any, dtype: np.dtype) -> Any:
  """An array in another type, brought to it as it is read."""
  if array.dtype == dtype:
    return array
  return changed(
    array, lambda index: np.asarray(array[index]).astype(dtype), dtype
  )


def open_tree(directory: locations.Location) -> dict[str, StoredArray]:
  """The arrays of a tree by path, unread; see `array_trees`.

  Raises:
    UserError: if it is damaged; reading a part of an array raises it too.
  """
  found: dict[str, StoredArray] = {}

  def visit(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in tree.items():
      place = (*path, key)
      if array_trees.is_stack(value):
        layers = [
          spec.array((*place, str(i)), value[str(i)]) for i in range(len(value))
        ]
        found["/".join(place)] = _stacked(layers)
      elif isinstance(value, Mapping):
        visit(value, place)
      else:
        found["/".join(place)] = spec.array(place, value)

  try:
    spec = _Spec.of(directory)
    visit(_metadata(directory), ())
  except _DAMAGES as error:
    raise _damaged(directory, error) from error
  return found


def _metadata(directory: locations.Location) -> Any:
  with ocp.PyTreeCheckpointer() as checkpointer:
    found = checkpointer.metadata(directory).item_metadata
  if found is None:
    raise ValueError("no metadata of the arrays")
  return found.tree


def _damaged(
  directory: locations.Location, error: Exception
) -> errors.UserError:
  """Advice for a user whose weights cannot be read."""
  line = str(error).splitlines()[0] if str(error) else type(error).__name__
  return errors.UserError(
    f"the weights in {directory} are damaged ({line}): train, convert or "
    "bundle them again"
  )


def _stacked(layers: Sequence[StoredArray]) -> StoredArray:
  """Arrays of one shape as one, with a layers axis."""
  first = layers[0]

  def read(index: Index) -> np.ndarray:
    wanted = layers[index[0]]
    shape = [part.stop - part.start for part in index]
    found = np.empty(shape, first.dtype)
    for i, layer in enumerate(wanted):
      found[i] = layer.read(index[1:])
    return found

  return StoredArray((len(layers), *first.shape), first.dtype, read)


def _bytes_in(folder: locations.Location) -> dict[str, str]:
  """How TensorStore calls a folder."""
  if not locations.is_distant(folder):
    return {"driver": "file", "path": f"{folder}/"}
  bucket, _, name = str(folder).removeprefix("gs://").partition("/")
  return {"driver": "gcs", "bucket": bucket, "path": f"{name}/"}


@dataclasses.dataclass(frozen=True)
class _Spec:
  """How the arrays of a tree are opened, which Orbax notes beside them."""

  directory: locations.Location
  driver: str
  ocdbt: bool

  @classmethod
  def of(cls, directory: locations.Location) -> "_Spec":
    notes = json.loads((directory / "_METADATA").read_text())
    return cls(
      directory,
      "zarr3" if notes.get("use_zarr3") else "zarr",
      (directory / "manifest.ocdbt").exists(),
    )

  def open(self, path: tuple[str, ...]) -> Any:
    name = ".".join(path)
    if self.ocdbt:
      base = _bytes_in(self.directory)
      store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
      store = _bytes_in(self.directory / name)
    spec = {
      "driver": self.driver,
      "kvstore": store,
      "fill_missing_data_reads": False,  # Else what is lost is read as zeros.
    }
    return tensorstore.open(spec, open=True, read=True).result()

  def array(self, path: tuple[str, ...], facts: Any) -> StoredArray:
    opened = functools.cache(lambda: self.open(path))

    def read(index: Index) -> np.ndarray:
      try:
        return np.asarray(opened()[index].read().result())
      except _DAMAGES as error:
        raise _damaged(self.directory, error) from error

    shape = tuple(facts.shape)
    chunk = facts.storage.chunk_shape if facts.storage else shape
    rows = max(chunk[0], 1) if shape else 1
    return StoredArray(shape, np.dtype(facts.dtype), read, rows)
