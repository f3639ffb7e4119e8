"""What every byte string of a record starts with, and how strings are joined.

A blob names its coding, dtype and shape, so it decodes alone. zstandard
contexts are not safe to share between threads, therefore each call makes its
own.
"""

import enum
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import zstandard
from jaxtyping import Int32

VERSION = 2
_MAGIC = b"M4"
_HEADER = struct.Struct("<2sBBBB")  # magic, version, coding, dtype, dimensions
DTYPES = (
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "uint64",
  "int64",
  "float16",
  "float32",
  "float64",
  "bool",
)
LEVEL = 5
_SMALLEST = -128  # Whole numbers from here on fit into one byte.
_LARGEST_SIZE = 1 << 32  # Bytes that a damaged header may ask for.


class DamagedError(ValueError):
  """The bytes are not what an encoder of this version wrote."""


class Coding(enum.IntEnum):
  """How the bytes after the header are to be read."""

  PLAIN = 0
  TIME = 1
  ROW = 2
  MASK = 3
  WHOLE = 4
  DEPTH = 5
  TRACKS = 6


class Head(NamedTuple):
  """What a blob says about itself; `body` is the rest of it."""

  coding: Coding
  dtype: np.dtype
  shape: tuple[int, ...]
  body: bytes


def pack(coding: Coding, array: np.ndarray, body: bytes) -> bytes:
  """The header of an array's blob, then `body`."""
  header = _HEADER.pack(
    _MAGIC, VERSION, coding, DTYPES.index(array.dtype.name), array.ndim
  )
  return header + struct.pack(f"<{array.ndim}I", *array.shape) + body


def unpack(blob: bytes) -> Head:
  """Reads the header.

  Raises:
    DamagedError: there is none, or of another version.
  """
  if len(blob) < _HEADER.size or blob[:2] != _MAGIC:
    raise DamagedError("no codec header")
  _, version, coding, dtype, dimensions = _HEADER.unpack_from(blob)
  if version != VERSION:
    raise DamagedError(f"codec version {version}, this program reads {VERSION}")
  start = _HEADER.size + 4 * dimensions
  if coding not in list(Coding) or dtype >= len(DTYPES) or len(blob) < start:
    raise DamagedError("a codec header that makes no sense")
  shape = struct.unpack_from(f"<{dimensions}I", blob, _HEADER.size)
  return Head(Coding(coding), np.dtype(DTYPES[dtype]), shape, blob[start:])


def compress(body: bytes, level: int = LEVEL) -> bytes:
  """Zstandard; the same input gives the same bytes."""
  return zstandard.ZstdCompressor(level=level).compress(body)


def decompress(body: bytes, size: int) -> bytes:
  """The bytes that were given to `compress`.

  Raises:
    DamagedError: damaged, or not of `size` bytes.
  """
  try:
    if zstandard.frame_content_size(body) != size or size > _LARGEST_SIZE:
      raise DamagedError(f"not the {size} bytes that the shape needs")
    return zstandard.ZstdDecompressor().decompress(body)
  except zstandard.ZstdError as error:
    raise DamagedError(str(error)) from error


def join(blobs: Sequence[bytes]) -> bytes:
  """Joins strings: their number, then each string after its length."""
  parts = [struct.pack("<I", len(blobs))]
  for blob in blobs:
    parts += [struct.pack("<I", len(blob)), blob]
  return b"".join(parts)


def split(blob: bytes) -> list[bytes]:
  """The strings that were given to `join`.

  Raises:
    DamagedError: the bytes are cut or altered.
  """
  blobs, start = [], 4
  try:
    (count,) = struct.unpack_from("<I", blob)
    for _ in range(count):
      (size,) = struct.unpack_from("<I", blob, start)
      blobs.append(blob[start + 4 : start + 4 + size])
      start += 4 + size
  except struct.error as error:
    raise DamagedError("parts are missing") from error
  if start != len(blob):
    raise DamagedError(f"{len(blob)} bytes where the parts need {start}")
  return blobs


def encode_whole(
  numbers: Int32[np.ndarray, "..."], level: int = LEVEL
) -> bytes:
  """Whole numbers that are mostly near zero to bytes, lossless.

  Their bytes are split by significance; those that are zero cost nothing.
  """
  shifted = np.ascontiguousarray(numbers, "<i4") - np.int32(_SMALLEST)
  width = 1
  while width < 4 and not _fits(shifted, width):
    width *= 2
  flat = shifted.reshape(-1).view(np.uint8).reshape(-1, 4)
  parts = [compress(flat[:, i].tobytes(), level) for i in range(width)]
  return pack(Coding.WHOLE, numbers, join(parts))


class WholeNumbers:
  """Numbers that were given to `encode_whole`, decoded where they are read."""

  def __init__(self, blob: bytes):
    """Unpacks the bytes.

    Raises:
      DamagedError: they are cut, altered or of another coding.
    """
    head = unpack(blob)
    parts = split(head.body)
    if head.coding != Coding.WHOLE or len(parts) not in (1, 2, 4):
      raise DamagedError("no whole numbers")
    self.shape = head.shape
    self._row = math.prod(head.shape[1:])
    size = math.prod(head.shape)
    self._parts = [decompress(part, size) for part in parts]

  def rows(self, start: int, stop: int) -> Int32[np.ndarray, "n ..."]:
    """Numbers `start` to `stop` along the first axis."""
    part = slice(start * self._row, stop * self._row)
    numbers = np.frombuffer(self._parts[0], np.uint8)[part].astype(np.int32)
    for index, plane in enumerate(self._parts[1:], 1):
      last = index == len(self._parts) - 1  # It carries the sign.
      values = np.frombuffer(plane, np.int8 if last else np.uint8)[part]
      places = np.flatnonzero(values)
      numbers[places] += values[places].astype(np.int32) << (8 * index)
    numbers += np.int32(_SMALLEST)
    return numbers.reshape(stop - start, *self.shape[1:])


def decode_whole(blob: bytes) -> Int32[np.ndarray, "..."]:
  """All numbers that were given to `encode_whole`.

  Raises:
    DamagedError: the bytes are cut, altered or of another coding.
  """
  whole = WholeNumbers(blob)
  size = whole.shape[0] if whole.shape else 1
  return whole.rows(0, size).reshape(whole.shape)


def _fits(shifted: Int32[np.ndarray, "..."], width: int) -> bool:
  low, high = (0, 256) if width == 1 else (-(1 << 15), 1 << 15)
  return bool(shifted.min(initial=0) >= low and shifted.max(initial=0) < high)
