"""Pickled arrays and tensors, read without executing anything.

Three kinds of file: plain pickles of NumPy arrays and PyTorch tensors, and
what PyTorch saves, in its zip format and in the one before. A pickle names the
functions that rebuild its objects; here a short list of names is understood,
with functions of our own behind them, and any other name refuses the file.
Needs neither torch nor jax.
"""

import collections
import dataclasses
import io
import math
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from more4d_jax import errors

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: Mapping[str, Any] = {
  "Double": np.float64,
  "Float": np.float32,
  "Half": np.float16,
  "BFloat16": ml_dtypes.bfloat16,
  "Long": np.int64,
  "Int": np.int32,
  "Short": np.int16,
  "Char": np.int8,
  "Byte": np.uint8,
  "Bool": np.bool_,
}
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
)


@dataclasses.dataclass(frozen=True)
class _Storage:
  """Numbers in a row, still where they were stored.

  Attributes:
    dtype: of each.
    size: how many.
    fetch: (first byte, number of bytes) -> bytes.
  """

  dtype: np.dtype
  size: int
  fetch: Callable[[int, int], bytes | bytearray]

  def read(self, start: int, count: int) -> np.ndarray:
    width = self.dtype.itemsize
    data = self.fetch(start * width, count * width)
    if len(data) != count * width:
      raise EOFError(f"{count * width} bytes of a tensor, found {len(data)}")
    return np.frombuffer(data, self.dtype)


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """A tensor whose values are still in its file.

  Attributes:
    shape: of the tensor.
    dtype: of its values.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  _storage: _Storage
  _start: int
  _strides: tuple[int, ...]

  def read(self) -> np.ndarray:
    """Returns the values, contiguous.

    Raises:
      UserError: if the file has become shorter.
    """
    if 0 in self.shape:
      return np.zeros(self.shape, self.dtype)
    try:
      flat = self._storage.read(self._start, self._span)
    except (EOFError, OSError) as error:
      raise errors.UserError(f"a tensor cannot be read: {error}") from error
    width = self.dtype.itemsize
    strides = tuple(stride * width for stride in self._strides)
    view = np.lib.stride_tricks.as_strided(flat, self.shape, strides)
    return np.ascontiguousarray(view).reshape(self.shape)

  @property
  def _span(self) -> int:
    steps = zip(self.shape, self._strides)
    return 1 + sum((length - 1) * stride for length, stride in steps)

  def check(self) -> "StoredTensor":
    """Returns itself if all of it lies inside its storage."""
    numbers = (*self.shape, *self._strides, self._start)
    if len(self.shape) != len(self._strides) or any(
      not isinstance(n, int) or n < 0 for n in numbers
    ):
      raise ValueError("a tensor has impossible sizes or strides")
    # Zero and repeating strides would let a small file claim a huge tensor.
    if math.prod(self.shape) > max(self._span, 0) and 0 not in self.shape:
      raise ValueError("a tensor is larger than what is stored of it")
    if 0 not in self.shape and self._start + self._span > self._storage.size:
      raise ValueError("a tensor reaches beyond what is stored of it")
    return self


class _ArrayType:
  """Stands for numpy.ndarray, which is only ever an argument."""


class _Unpickler(pickle.Unpickler):
  """Rebuilds containers, numbers, text, arrays and tensors."""

  def __init__(
    self, file: io.BufferedIOBase, storage: Callable[[Sequence[Any]], _Storage]
  ):
    super().__init__(file)
    self._storage = storage
    names: dict[tuple[str, str], Any] = {
      ("collections", "OrderedDict"): collections.OrderedDict,
      ("torch", "Size"): tuple,
      ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
      ("torch._utils", "_rebuild_parameter"): self._parameter,
      ("torch.storage", "_load_from_bytes"): self._nested,
      ("numpy", "ndarray"): _ArrayType,
      ("numpy", "dtype"): self._dtype,
      ("_codecs", "encode"): self._encode,
    }
    for kind in _DTYPES:
      names["torch", f"{kind}Storage"] = kind
    for core in ("numpy.core", "numpy._core"):
      names[f"{core}.multiarray", "_reconstruct"] = self._array
      names[f"{core}.multiarray", "scalar"] = self._scalar
      names[f"{core}.numeric", "_frombuffer"] = self._from_buffer
    self._names = names

  def find_class(self, module: str, name: str) -> Any:
    """Returns what a name stands for; refuses all names but a few."""
    try:
      return self._names[module, name]
    except KeyError:
      raise errors.UserError(
        f"it asks for {module}.{name}, which weights and trajectories do not "
        "need and which could run any program: get the file from its authors"
      ) from None

  def persistent_load(self, pid: Any) -> _Storage:
    """Returns the storage that PyTorch's formats keep beside the pickle."""
    if not isinstance(pid, tuple) or pid[:1] != ("storage",):
      raise pickle.UnpicklingError(f"unknown reference {str(pid)[:60]}")
    if pid[1] not in _DTYPES:
      raise pickle.UnpicklingError("a tensor of an unknown type")
    return self._storage(pid)

  @staticmethod
  def _tensor(storage, start, shape, strides, *_: Any) -> StoredTensor:
    if not isinstance(storage, _Storage):
      raise pickle.UnpicklingError("a tensor without a storage")
    tensor = StoredTensor(
      tuple(shape), storage.dtype, storage, start, tuple(strides)
    )
    return tensor.check()

  @staticmethod
  def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor

  @staticmethod
  def _nested(data: bytes) -> Any:
    return _load_legacy(_Bytes(data))

  @staticmethod
  def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
      raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin1")

  @staticmethod
  def _dtype(spec: str, *_: Any) -> np.dtype:
    dtype = np.dtype(spec)
    if dtype.kind not in "biufc":
      raise pickle.UnpicklingError(f"an array of {spec}, which are no numbers")
    return np.dtype(spec, copy=True)  # Its byte order is set afterwards.

  @staticmethod
  def _array(kind: Any, *_: Any) -> np.ndarray:
    if kind is not _ArrayType:
      raise pickle.UnpicklingError("an array of an unknown class")
    return np.ndarray((0,), np.int8)  # Shape, type and values are set then.

  @staticmethod
  def _scalar(dtype: np.dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype, 1)[0]

  @staticmethod
  def _from_buffer(data, dtype, shape, order) -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order=order)


class _Bytes:
  """A file's content in memory."""

  def __init__(self, data: bytes):
    self._data = bytes(data)

  def open(self) -> io.BufferedIOBase:
    return io.BytesIO(self._data)

  def fetch(self, start: int, count: int) -> bytes:
    return self._data[start : start + count]


class _File:
  """A file that is opened for each read."""

  def __init__(self, path: pathlib.Path):
    self._path = path

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
) -> _Storage:
  _, kind, _, _, size = pid[:5]
  return _Storage(np.dtype(_DTYPES[kind]), int(size), fetch)


def _load_legacy(source: _Bytes | _File) -> Any:
  """Reads the format before the zip one: pickles, then the storages."""
  found: dict[str, tuple[_Storage, list[int]]] = {}

  def storage(pid: Sequence[Any]) -> _Storage:
    key = str(pid[2])
    if len(pid) > 5 and pid[5] is not None:
      raise pickle.UnpicklingError("a view of a storage")
    if key not in found:
      place: list[int] = []  # Known when the pickles have been read.
      made = _storage_of(
        pid, lambda start, count: source.fetch(place[0] + start, count)
      )
      found[key] = (made, place)
    return found[key][0]

  with source.open() as file:
    if _Unpickler(file, storage).load() != _LEGACY_MAGIC:
      raise pickle.UnpicklingError("no file of PyTorch's")
    _Unpickler(file, storage).load()  # Version of the format.
    _Unpickler(file, storage).load()  # Facts of the machine.
    value = _Unpickler(file, storage).load()
    for key in _Unpickler(file, storage).load():
      made, place = found[str(key)]
      (size,) = struct.unpack("<q", file.read(8))
      if size != made.size:
        raise ValueError(f"{size} numbers stored, {made.size} announced")
      place.append(file.tell())
      file.seek(size * made.dtype.itemsize, os.SEEK_CUR)
    end = file.tell()
    if file.seek(0, os.SEEK_END) < end:
      raise EOFError(f"{end} bytes expected")
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
    order = entries.get(f"{folder}byteorder")
    if order is not None and archive.read(order).strip() != b"little":
      raise pickle.UnpicklingError("numbers in another byte order")

    def storage(pid: Sequence[Any]) -> _Storage:
      info = entries[f"{folder}data/{pid[2]}"]
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

    with archive.open(root) as data:
      return _Unpickler(data, storage).load()


def _no_storage(pid: Sequence[Any]) -> _Storage:
  raise pickle.UnpicklingError(f"a tensor outside the file: {pid[2]}")


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
    return _Unpickler(file, _no_storage).load()


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
  """As `read_lazily`, with all tensors read into NumPy arrays."""
  return _read_all(read_lazily(path))


def _read_all(value: Any) -> Any:
  if isinstance(value, StoredTensor):
    return value.read()
  if isinstance(value, Mapping):
    return {key: _read_all(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return type(value)(_read_all(item) for item in value)
  return value
