"""Which records are trained on and which are held out."""

import bisect
import hashlib
import itertools
import math
import os
from collections.abc import Sequence
from concurrent import futures
from typing import Any

from more4d_jax import errors, item_lists, locations
from more4d_jax.data import loader, record_directory
from more4d_jax.experiment import run_config

_READING_THREADS = 32  # A distant file costs requests.
_EDGE = 1 << 16  # Bytes of each end of a file that enter a fingerprint.


class Concatenated:
  """Several sources one after the other."""

  def __init__(self, parts: Sequence[loader.Source]):
    """Keeps the parts."""
    self._parts = list(parts)
    self._ends = list(itertools.accumulate(len(part) for part in parts))

  def __len__(self) -> int:
    """Number of items in all parts."""
    return self._ends[-1]

  def __getitem__(self, index: int) -> Any:
    """Returns an item by its number over all parts."""
    if not 0 <= index < len(self):
      raise IndexError(f"item {index} of {len(self)}")
    part = bisect.bisect_right(self._ends, index)
    return self._parts[part][index - (self._ends[part - 1] if part else 0)]


class Subset:
  """Chosen items of a source."""

  def __init__(self, whole: loader.Source, numbers: Sequence[int]):
    """Keeps the numbers."""
    self._whole, self._numbers = whole, numbers

  def __len__(self) -> int:
    """Number of chosen items."""
    return len(self._numbers)

  def __getitem__(self, index: int) -> Any:
    """Returns the item of the index-th chosen number."""
    return self._whole[self._numbers[index]]


def open_splits(
  config: run_config.DataConfig,
) -> tuple[loader.Source, loader.Source]:
  """Opens the records to train on and those to evaluate on.

  Without held-out records the evaluation uses the first training records.

  Args:
    config: the section `data`.

  Raises:
    UserError: if no records are named or too few are left to train on.
  """
  names = item_lists.directories(config.records)
  if not names:
    raise errors.UserError(
      "expected directories of records in data.records, found none: add "
      "--config.data.records=DIR (make them with `more4d data make`)"
    )
  records = Concatenated(
    [record_directory.open_records(name) for name in names]
  )
  count = len(records)
  held = item_lists.directories(config.held_out)
  kept = count if held else count - config.num_held_out
  if not 0 < kept <= count:
    raise errors.UserError(
      f"data.num_held_out is {config.num_held_out} but data.records holds "
      f"{count} records: hold out fewer of them, at least 0"
    )
  limit = min(config.limit or kept, kept)
  training = Subset(records, range(limit))
  if held:
    return training, Concatenated(
      [record_directory.open_records(name) for name in held]
    )
  if config.num_held_out:
    return training, Subset(records, range(kept, count))
  return training, training


def parts(config: run_config.DataConfig) -> tuple[loader.Part, ...]:
  """The data sets to mix, where the config gives them weights.

  They hold what `open_splits` trains on: records left out by `limit` and
  `num_held_out` are the last of the last data sets.

  Args:
    config: the section `data`.

  Raises:
    UserError: not one positive weight for each directory, or a directory none
      of whose records are trained on.
  """
  if not config.weights:
    return ()
  names = item_lists.directories(config.records)
  try:
    weights = [float(word) for word in config.weights.split(",")]
  except ValueError:
    weights = []
  if len(weights) != len(names) or not all(0 < w < math.inf for w in weights):
    raise errors.UserError(
      f"data.weights is {config.weights!r}; expected {len(names)} positive "
      f"numbers separated by commas, one for each directory in data.records"
    )
  left = len(open_splits(config)[0])
  found = []
  for name, weight in zip(names, weights):
    size = min(len(record_directory.open_records(name)), left)
    if not size:
      raise errors.UserError(
        f"no record of {name} is trained on, data.limit and data.num_held_out "
        f"leave none; name its directory first, or raise the limit"
      )
    found.append(loader.Part(size, weight))
    left -= size
  return tuple(found)


def facts(config: run_config.DataConfig, name: str, count: int) -> list[Any]:
  """What latents of the training or held-out records are made from.

  Args:
    config: the section `data`.
    name: "train" or "held_out".
    count: number of records.
  """
  held = name == "held_out" and config.held_out
  names = item_lists.directories(config.held_out if held else config.records)
  first = [name, config.num_held_out] if not held else [name]
  return [*first, count, fingerprint(names)]


def fingerprint(names: Sequence[str | os.PathLike[str]]) -> str:
  """Returns digits that change with the records in directories.

  File names, sizes and both ends of every file enter it.
  """
  digest = hashlib.sha256()
  for name in names:
    root = locations.path(name)
    files = [
      path
      for path in locations.files_below(root)
      if path.suffix not in (".md", ".txt")
    ]
    with futures.ThreadPoolExecutor(_READING_THREADS) as pool:
      for path, (size, edges) in zip(files, pool.map(_edges, files)):
        place = path.relative_to(root).as_posix()
        digest.update(f"{place}:{size};".encode())
        digest.update(edges)
  return digest.hexdigest()[:16]


def _edges(path: locations.Location) -> tuple[int, bytes]:
  """Size of a file, and both its ends."""
  size = locations.size(path)
  with path.open("rb") as file:
    first = file.read(_EDGE)
    file.seek(max(0, size - _EDGE))
    return size, first + file.read(_EDGE)


def cycled(whole: loader.Source, count: int, multiple: int) -> Subset:
  """The first items of a source, repeated to whole batches.

  Args:
    whole: where they come from.
    count: greatest number of different items.
    multiple: the batch size.
  """
  count = max(1, min(count, len(whole)))
  filled = -(-count // multiple) * multiple
  return Subset(whole, [index % count for index in range(filled)])
