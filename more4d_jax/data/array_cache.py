"""Array caches: one `.npy` file per field, memory-mapped, read by number.

What frozen networks make of the records (latents, tokens, depth) is computed
once and kept here. A cache carries a fingerprint of what it was made from
(records, checkpoints, settings) and refuses to be taken for another.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from more4d_jax import errors

INDEX_FILE = "index.json"
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class CacheSpec:
  """What a cache holds.

  Attributes:
    count: number of examples.
    fields: name -> (shape of one example, dtype name).
  """

  count: int
  fields: Mapping[str, tuple[tuple[int, ...], str]]


def spec_of(count: int, example: Mapping[str, np.ndarray]) -> CacheSpec:
  """The spec of `count` examples like this one (no batch axis)."""
  return CacheSpec(
    count,
    {
      name: (tuple(np.shape(value)), np.asarray(value).dtype.name)
      for name, value in example.items()
    },
  )


class ArrayCacheWriter:
  """Writes a cache into a temporary folder that `finish` renames.

  One writer at a time may fill a directory; what a killed one has left is
  deleted by the next.

  with ArrayCacheWriter(directory, spec, fingerprint) as writer:
    writer.write(start, batch)  # for every batch
  # Left without an exception: finished. With one: nothing remains.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    spec: CacheSpec,
    fingerprint: Mapping[str, Any],
  ):
    """Makes the files at their final size.

    Raises:
      UserError: the directory exists already.
    """
    self._directory = pathlib.Path(directory)
    self._spec = spec
    self._fingerprint = _canonical(fingerprint)
    if self._directory.exists():
      raise errors.UserError(
        f"{self._directory} exists already; delete it to make the cache again"
      )
    name = f"{self._directory.name}.incomplete"
    self._temporary = self._directory.with_name(name)
    if self._temporary.exists():  # Of a run that was killed.
      shutil.rmtree(self._temporary)
    self._temporary.mkdir(parents=True)
    self._written = np.zeros(spec.count, bool)
    self._arrays = {
      name: np.lib.format.open_memmap(
        self._temporary / f"{name}.npy",
        mode="w+",
        dtype=np.dtype(dtype),
        shape=(spec.count, *shape),
      )
      for name, (shape, dtype) in spec.fields.items()
    }

  def write(self, start: int, batch: Mapping[str, np.ndarray]) -> None:
    """Stores examples `start`, `start + 1`, ...; arrays have a batch axis.

    Raises:
      ValueError: other fields, shapes or dtypes than the spec says.
    """
    if set(batch) != set(self._arrays):
      raise ValueError(
        f"batch has {sorted(batch)}, the cache expects {sorted(self._arrays)}"
      )
    for name in batch:
      target, value = self._arrays[name], np.asarray(batch[name])
      stop = start + len(value)
      if (
        value.shape[1:] != target.shape[1:]
        or value.dtype != target.dtype
        or stop > len(target)
      ):
        raise ValueError(
          f"{name} is {value.dtype} {value.shape} at {start}; the cache "
          f"expects {target.dtype} {target.shape[1:]} below {len(target)}"
        )
      target[start:stop] = value
      self._written[start:stop] = True

  def finish(self) -> None:
    """Flushes, writes the index and gives the folder its final name.

    Raises:
      ValueError: examples are missing.
    """
    if not self._written.all():
      first = int(np.flatnonzero(~self._written)[0])
      raise ValueError(f"example {first} of {self._spec.count} was not written")
    for array in self._arrays.values():
      array.flush()
    self._arrays = {}
    index = {
      "version": _VERSION,
      "count": self._spec.count,
      "fields": {
        name: {"shape": list(shape), "dtype": dtype}
        for name, (shape, dtype) in self._spec.fields.items()
      },
      "fingerprint": self._fingerprint,
    }
    (self._temporary / INDEX_FILE).write_text(json.dumps(index, indent=2))
    self._temporary.rename(self._directory)

  def abort(self) -> None:
    """Deletes what was written."""
    self._arrays = {}
    shutil.rmtree(self._temporary, ignore_errors=True)

  def __enter__(self) -> "ArrayCacheWriter":
    return self

  def __exit__(self, kind: Any, *_: Any) -> None:
    if kind is not None:
      self.abort()
      return
    try:
      self.finish()
    except ValueError:
      self.abort()
      raise


class ArrayCache:
  """A finished cache: `cache[i]` is a dict of arrays without batch axis."""

  def __init__(self, directory: pathlib.Path, index: Mapping[str, Any]):
    """Maps the files; raises UserError if one is missing or of wrong size."""
    self.directory = directory
    self.fingerprint = index["fingerprint"]
    self.fields = {
      name: (tuple(entry["shape"]), entry["dtype"])
      for name, entry in index["fields"].items()
    }
    self._count = index["count"]
    self._arrays = {name: self._map(name) for name in self.fields}

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if not 0 <= index < self._count:
      raise IndexError(f"example {index} of {self._count}")
    return {
      name: np.array(array[index]) for name, array in self._arrays.items()
    }

  def array(self, name: str) -> np.ndarray:
    """The memory-mapped array of one field over all examples, read-only."""
    return self._arrays[name]

  def _map(self, name: str) -> np.ndarray:
    path = self.directory / f"{name}.npy"
    shape, dtype = self.fields[name]
    try:
      array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
      raise errors.UserError(
        f"{path} is missing or damaged ({error}); delete {self.directory} and "
        f"run the command again"
      ) from error
    if array.shape != (self._count, *shape) or array.dtype != dtype:
      raise errors.UserError(
        f"{path} is {array.dtype} {array.shape}, the index says {dtype} "
        f"{(self._count, *shape)}; delete {self.directory} and run the command "
        f"again"
      )
    return array

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, "_arrays": None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self._arrays = {name: self._map(name) for name in self.fields}


def is_finished(directory: str | os.PathLike[str]) -> bool:
  """Whether a finished cache lies there."""
  return (pathlib.Path(directory) / INDEX_FILE).is_file()


def open_cache(
  directory: str | os.PathLike[str],
  fingerprint: Mapping[str, Any] | None = None,
) -> ArrayCache:
  """Opens a finished cache.

  Args:
    directory: where it was written.
    fingerprint: what it must have been made from; None accepts any.

  Raises:
    UserError: no cache there, damaged, or made from something else.
  """
  directory = pathlib.Path(directory)
  try:
    index = json.loads((directory / INDEX_FILE).read_text())
    version = index["version"]
  except OSError as error:
    raise errors.UserError(
      f"{directory} holds no finished array cache ({INDEX_FILE} is missing)"
    ) from error
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f"{directory / INDEX_FILE} is damaged ({error}); delete {directory} and "
      f"run the command again"
    ) from error
  if version != _VERSION:
    raise errors.UserError(
      f"{directory} has cache version {version}, this program reads "
      f"{_VERSION}; delete it and run the command again"
    )
  if fingerprint is not None:
    _compare(directory, index["fingerprint"], _canonical(fingerprint))
  return ArrayCache(directory, index)


def _canonical(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
  """As JSON gives it back, so that tuples and lists compare equal."""
  return json.loads(json.dumps(dict(fingerprint), sort_keys=True))


def _compare(
  directory: pathlib.Path, found: dict[str, Any], expected: dict[str, Any]
) -> None:
  names = sorted(
    name
    for name in {*found, *expected}
    if found.get(name) != expected.get(name)
  )
  if names:
    name = names[0]
    raise errors.UserError(
      f"{directory} was made from something else: {name} is "
      f"{found.get(name)!r}, expected {expected.get(name)!r}; delete it or use "
      f"another directory"
    )
