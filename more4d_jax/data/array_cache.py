"""Caches of arrays: what frozen networks make of records, read by number.

A cache is a folder of parts. Each is two files: `part-00000.bin` holds the
examples one after the other, each the bytes of its fields; `part-00000.json`
says where what lies, with a hash of the file and a checksum of each example,
and what the cache was made from (records, networks, settings). It is written
last: a part without it is not there. An example is one range of one file, so
that a cache may lie where reading costs a request.

Rows at the end of a field that are zero are not stored: features of a caption
take the room of its tokens, not that of the longest one.
"""

import dataclasses
import hashlib
import json
import math
import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from more4d_jax import errors, locations

_VERSION = 2
_PARTIAL = ".partial"

Example = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Field:
  """One array of every example.

  Attributes:
    shape: of it.
    dtype: its name.
  """

  shape: tuple[int, ...]
  dtype: str

  @property
  def row_bytes(self) -> int:
    """Bytes of a row, which is all of it if it has no axes."""
    return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

  def stored(self, value: np.ndarray) -> np.ndarray:
    """The rows that are stored."""
    rows = value[None] if not self.shape else value
    last = len(rows)
    while last and not rows[last - 1].any():
      last -= 1
    return rows[:last]

  def restored(self, rows: np.ndarray) -> np.ndarray:
    """The array of its stored rows."""
    shape = self.shape or (1,)
    full = np.zeros(shape, self.dtype)
    full[: len(rows)] = rows.reshape(len(rows), *shape[1:])
    return full.reshape(self.shape)


def fields_of(example: Example) -> dict[str, Field]:
  """The fields of examples like this one, in the order they are stored."""
  return {
    name: Field(tuple(value.shape), value.dtype.name)
    for name, value in sorted(example.items())
  }


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a part lies.

  Attributes:
    folder: of the cache.
    number: of the part.
  """

  folder: locations.Location
  number: int

  @property
  def data(self) -> locations.Location:
    """The file of the examples."""
    return self.folder / f"part-{self.number:05d}.bin"

  @property
  def index(self) -> locations.Location:
    """The file that says what is in the other; the last one written."""
    return self.folder / f"part-{self.number:05d}.json"

  def leftovers(self) -> list[locations.Location]:
    """Files of writers that were killed."""
    start = f"part-{self.number:05d}."
    return [
      path
      for path in self.folder.iterdir()
      if path.name.startswith(start) and path.name.endswith(_PARTIAL)
    ]


def write_part(
  place: Place, examples: Iterable[Example], fingerprint: Mapping[str, Any]
) -> int:
  """Writes a part, whole or not at all.

  Several writers may be at one part; the last one's is kept.

  Args:
    place: of the part.
    examples: at least one; all have the fields of the first.
    fingerprint: JSON values, what they are made from.

  Returns: number of bytes of the examples.

  Raises:
    ValueError: an example has other fields, shapes or dtypes.
  """
  place.folder.mkdir(parents=True, exist_ok=True)
  token = secrets.token_hex(4)
  temporary = place.folder / f"{place.data.stem}.{token}{_PARTIAL}"
  try:
    with temporary.open("wb") as file:
      index = _write_examples(file, examples)
    index |= {"version": _VERSION, "fingerprint": _canonical(fingerprint)}
    temporary.replace(place.data)
    temporary.write_text(json.dumps(index))
    temporary.replace(place.index)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
  for path in place.leftovers():
    path.unlink(missing_ok=True)
  return index["bytes"]


def _write_examples(file: Any, examples: Iterable[Example]) -> dict[str, Any]:
  digest, size = hashlib.sha256(), 0
  fields: dict[str, Field] = {}
  rows: list[list[int]] = []
  checksums: list[int] = []
  for example in examples:
    fields = fields or fields_of(example)
    if fields_of(example) != fields:
      raise ValueError(f"an example has {fields_of(example)}, not {fields}")
    found = [fields[name].stored(example[name]) for name in fields]
    blob = b"".join(np.ascontiguousarray(part).tobytes() for part in found)
    file.write(blob)
    digest.update(blob)
    size += len(blob)
    rows.append([len(part) for part in found])
    checksums.append(zlib.crc32(blob))
  return {
    "bytes": size,
    "sha256": digest.hexdigest(),
    "fields": {name: dataclasses.asdict(f) for name, f in fields.items()},
    "rows": rows,
    "crc32": checksums,
  }


class Part:
  """A finished part: `part[i]` is a dict of arrays without batch axis."""

  def __init__(self, place: Place, index: Mapping[str, Any]):
    """Keeps what the index says; the file is opened for each example."""
    self.place = place
    self.bytes: int = index["bytes"]
    self.sha256: str = index["sha256"]
    self.fields = {
      name: Field(tuple(entry["shape"]), entry["dtype"])
      for name, entry in index["fields"].items()
    }
    self._rows: Sequence[Sequence[int]] = index["rows"]
    self._checksums: Sequence[int] = index["crc32"]
    row_bytes = [field.row_bytes for field in self.fields.values()]
    sizes = np.asarray(self._rows, np.int64) @ np.asarray(row_bytes, np.int64)
    self._ends = np.cumsum(sizes)

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, number: int) -> dict[str, np.ndarray]:
    if not 0 <= number < len(self):
      raise IndexError(f"example {number} of {len(self)}")
    start = int(self._ends[number - 1]) if number else 0
    blob = self._read(start, int(self._ends[number]) - start)
    if zlib.crc32(blob) != self._checksums[number]:
      raise self._damaged(f"example {number} is not what was written")
    found, offset = {}, 0
    for (name, field), rows in zip(
      self.fields.items(), self._rows[number], strict=True
    ):
      size = rows * field.row_bytes
      values = np.frombuffer(blob[offset : offset + size], field.dtype)
      found[name] = field.restored(values.reshape(rows, *field.shape[1:]))
      offset += size
    return found

  def check(self) -> None:
    """Reads the whole file and compares its hash.

    Raises:
      UserError: if it is another one.
    """
    digest = hashlib.sha256()
    try:
      with self.place.data.open("rb") as file:
        while piece := file.read(1 << 24):
          digest.update(piece)
    except OSError as error:
      raise self._damaged(str(error)) from error
    if digest.hexdigest() != self.sha256:
      raise self._damaged("its hash is not that of the index")

  def _read(self, start: int, size: int) -> bytes:
    try:
      with self.place.data.open("rb") as file:
        file.seek(start)
        return file.read(size)
    except OSError as error:
      raise self._damaged(str(error)) from error

  def _damaged(self, what: str) -> errors.UserError:
    return errors.UserError(
      f"{self.place.data} is missing or damaged ({what}): delete "
      f"{self.place.index} and make the cache again"
    )


def is_finished(place: Place) -> bool:
  """Whether a finished part lies there."""
  return place.index.is_file()


def open_part(place: Place, fingerprint: Mapping[str, Any]) -> Part:
  """Opens a finished part.

  Args:
    place: where it was written.
    fingerprint: what it must have been made from.

  Raises:
    UserError: no part there, damaged, or made from something else.
  """
  path = place.index
  try:
    index = json.loads(path.read_text())
    found = index["version"], index["fingerprint"]
    part = Part(place, index) if found[0] == _VERSION else None
  except OSError as error:
    raise errors.UserError(
      f"{path} is missing: make the cache first, with the same configuration"
    ) from error
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f"{path} is damaged ({error}): delete it and make the cache again"
    ) from error
  if part is None:
    raise errors.UserError(
      f"{path} has version {found[0]}, this program reads {_VERSION}: delete "
      "it and make the cache again"
    )
  _compare(path, found[1], _canonical(fingerprint))
  return part


def _canonical(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
  """As JSON gives it back, so that tuples and lists compare equal."""
  return json.loads(json.dumps(dict(fingerprint), sort_keys=True))


def _compare(
  path: locations.Location, found: dict[str, Any], expected: dict[str, Any]
) -> None:
  names = sorted(
    name
    for name in {*found, *expected}
    if found.get(name) != expected.get(name)
  )
  if names:
    name = names[0]
    raise errors.UserError(
      f"{path} was made from something else: {name} is {found.get(name)!r}, "
      f"expected {expected.get(name)!r}; delete it or name another data.cache"
    )
