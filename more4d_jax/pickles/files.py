"""Files of pickled arrays and tensors, read without executing anything.

Three kinds of file: plain pickles of NumPy arrays and PyTorch tensors, and
what PyTorch saves, in its zip format and in the one before. A pickle names the
functions that rebuild its objects; here a short list of names is understood,
with functions of our own behind them, and any other name refuses the file.
Needs neither torch nor jax.
"""

import io
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.pickles import stored_tensors, unpickler

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# What a damaged stream of opcodes or a damaged archive makes Python raise.
_DAMAGE = (
  pickle.UnpicklingError,
  zipfile.BadZipFile,
  struct.error,
  EOFError,
  ValueError,
  TypeError,
  AttributeError,
  LookupError,
  OverflowError,
  NotImplementedError,
  MemoryError,  # Of an impossible length.
  RecursionError,
  UnicodeError,
)


class _Bytes:
  """A file's content in memory."""

  def __init__(self, data: bytes):
    self._data = bytes(data)
    self.size = len(data)

  def open(self) -> io.BufferedIOBase:
    return io.BytesIO(self._data)

  def fetch(self, start: int, count: int) -> bytes:
    return self._data[start : start + count]


class _File:
  """A file that is opened for each read."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self.size = os.path.getsize(path)

  def open(self) -> io.BufferedIOBase:
    return self._path.open("rb")

  def fetch(self, start: int, count: int) -> bytearray:
    data = bytearray(count)
    with self.open() as file:
      file.seek(start)
      found = file.readinto(data)
    return data if found == count else data[:found]


def _storage_of(
  pid: Sequence[Any], fetch: Callable[[int, int], bytes]
) -> stored_tensors.Storage:
  size = pid[4]
  if type(size) is not int or not 0 <= size < 1 << 62:
    raise pickle.UnpicklingError("a storage of an impossible size")
  return stored_tensors.Storage(
    np.dtype(stored_tensors.DTYPES[pid[1]]), size, fetch
  )


def _inside(data: bytes) -> Any:
  """Reads a file that stands inside a pickle; there is none inside it."""
  return _load_legacy(_Bytes(data), _too_deep)


def _too_deep(_: bytes) -> Any:
  raise pickle.UnpicklingError("a file inside a file inside it")


def _load_legacy(
  source: _Bytes | _File, nested: Callable[[bytes], Any] = _inside
) -> Any:
  """Reads the format before the zip one: pickles, then the storages."""
  found: dict[str, tuple[stored_tensors.Storage, list[int]]] = {}

  def storage(pid: Sequence[Any]) -> stored_tensors.Storage:
    key = pid[2]
    if len(pid) > 5 and pid[5] is not None:
      raise pickle.UnpicklingError("a view of a storage")
    if key not in found:
      place: list[int] = []  # Known when the pickles have been read.
      made = _storage_of(
        pid, lambda start, count: source.fetch(place[0] + start, count)
      )
      found[key] = (made, place)
    return found[key][0]

  def load() -> Any:
    return unpickler.Unpickler(file, source.size, storage, nested).load()

  with source.open() as file:
    if load() != _LEGACY_MAGIC:
      raise pickle.UnpicklingError("no file of PyTorch's")
    load()  # Version of the format.
    load()  # Facts of the machine.
    value = load()
    for key in load():
      made, place = found[key]
      (size,) = struct.unpack("<q", file.read(8))
      if size != made.size:
        raise ValueError(f"{size} numbers stored, {made.size} announced")
      place.append(file.tell())
      file.seek(size * made.dtype.itemsize, os.SEEK_CUR)
    if source.size < file.tell():
      raise EOFError(f"{file.tell()} bytes expected")
  if any(not place for _, place in found.values()):
    raise EOFError("storages are missing")
  return value


def _load_zip(path: pathlib.Path) -> Any:
  """Reads PyTorch's zip format; tensors stay in the file."""
  source = _File(path)
  with zipfile.ZipFile(path) as archive, source.open() as file:
    entries = {info.filename: info for info in archive.infolist()}
    root = next((n for n in entries if n.endswith("data.pkl")), None)
    if root is None:
      raise pickle.UnpicklingError("an archive without data.pkl")
    folder = root.removesuffix("data.pkl")

    def bounded(name: str) -> zipfile.ZipInfo:
      info = entries[name]
      if info.file_size > source.size:
        raise pickle.UnpicklingError("a member larger than the file")
      return info

    if f"{folder}byteorder" in entries:
      order = archive.read(bounded(f"{folder}byteorder"))
      if order.strip() != b"little":
        raise pickle.UnpicklingError("numbers in another byte order")

    def storage(pid: Sequence[Any]) -> stored_tensors.Storage:
      info = bounded(f"{folder}data/{pid[2]}")
      if info.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError("compressed tensors")
      # The name and extra fields that stand before the data vary in length.
      file.seek(info.header_offset + 26)
      start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
      made = _storage_of(
        pid, lambda first, count: source.fetch(start + first, count)
      )
      if made.size * made.dtype.itemsize > info.file_size:
        raise ValueError("a storage is shorter than announced")
      return made

    data = io.BytesIO(archive.read(bounded(root)))
    size = data.getbuffer().nbytes
    return unpickler.Unpickler(data, size, storage, _inside).load()


def _no_storage(_: Sequence[Any]) -> stored_tensors.Storage:
  raise pickle.UnpicklingError("a tensor outside the file")


def _load(path: pathlib.Path) -> Any:
  source = _File(path)
  with source.open() as file:
    start = file.read(64)
  if start.startswith(b"PK"):
    return _load_zip(path)
  magic = pickle.dumps(_LEGACY_MAGIC, protocol=2)
  if start.startswith(magic):
    return _load_legacy(source)
  with source.open() as file:
    made = unpickler.Unpickler(file, source.size, _no_storage, _inside)
    return made.load()


def read_lazily(path: str | os.PathLike[str]) -> Any:
  """Reads a pickle or a file of PyTorch's; tensors are `StoredTensor`s.

  Returns: containers, numbers, text, NumPy arrays and `StoredTensor`s.

  Raises:
    UserError: if the file is absent or damaged, or asks for anything else; the
      message then says for what.
  """
  path = pathlib.Path(path)
  try:
    return _load(path)
  except FileNotFoundError:
    raise errors.UserError(
      f"there is no file {path}: give the name of a pickle or a .pth file"
    ) from None
  except errors.UserError as error:
    raise errors.UserError(f"{path} is refused: {error}") from None
  except _DAMAGE as error:
    line = str(error).partition("\n")[0] or type(error).__name__
    raise errors.UserError(
      f"{path} is damaged or no pickle ({line}): download it again"
    ) from error


def read(path: str | os.PathLike[str]) -> Any:
  """As `read_lazily`, with all tensors read into NumPy arrays.

  Raises:
    UserError: also if many tensors share few stored numbers, so that reading
      them would take several times the file's size.
  """
  value = read_lazily(path)
  found: dict[int, stored_tensors.StoredTensor] = {}
  seen: set[int] = set()
  _collect(value, found, seen)
  total, size = sum(t.nbytes for t in found.values()), os.path.getsize(path)
  if total > 2 * size:
    raise errors.UserError(
      f"{path} is refused: its tensors take {total} bytes, more than twice "
      f"the {size} bytes of the file"
    )
  return _filled(value, {name: t.read() for name, t in found.items()}, {})


def _collect(
  value: Any, found: dict[int, stored_tensors.StoredTensor], seen: set[int]
) -> None:
  """Gathers the tensors of a value, each once."""
  if id(value) in seen:
    return
  seen.add(id(value))
  if isinstance(value, stored_tensors.StoredTensor):
    found[id(value)] = value
  elif isinstance(value, Mapping | list | tuple):
    for item in value.values() if isinstance(value, Mapping) else value:
      _collect(item, found, seen)


def _filled(
  value: Any, arrays: Mapping[int, np.ndarray], made: dict[int, Any]
) -> Any:
  """The value with arrays for its tensors; shared parts stay shared."""
  if id(value) in arrays:
    return arrays[id(value)]
  if not isinstance(value, Mapping | list | tuple):
    return value
  if id(value) not in made:
    if isinstance(value, Mapping):
      made[id(value)] = {
        key: _filled(item, arrays, made) for key, item in value.items()
      }
    else:
      made[id(value)] = type(value)(
        _filled(item, arrays, made) for item in value
      )
  return made[id(value)]
