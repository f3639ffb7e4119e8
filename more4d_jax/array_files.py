"""NumPy files that people bring: what they hold is checked before it is read.

The header of an array says how large it is, and NumPy makes room for that many
values before it looks for them. Here a header that says more than its file
holds refuses the file, so that a damaged one costs no memory.
"""

import io
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection

import numpy as np
from jaxtyping import Shaped

PathLike = str | os.PathLike[str]

# What a damaged file makes NumPy, zipfile and zlib raise.
DAMAGE = (
  OSError,
  ValueError,
  TypeError,
  LookupError,
  EOFError,
  OverflowError,
  AttributeError,
  NotImplementedError,
  MemoryError,
  RecursionError,
  RuntimeError,  # zipfile, of an encrypted member.
  SyntaxError,
  struct.error,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
)


def read_npy(path: PathLike) -> Shaped[np.ndarray, "..."]:
  """Reads an .npy file of plain values.

  Raises:
    ValueError: if it holds objects, or less than its header says.
    Others of `DAMAGE`: if it is damaged in another way.
  """
  with open(path, "rb") as stream:
    return _read(stream, os.path.getsize(path))


def names(path: PathLike) -> tuple[str, ...]:
  """Names of the arrays in an .npz file; raises as `read_npz`."""
  with _archive(path) as archive:
    return tuple(name.removesuffix(".npy") for name in archive.namelist())


def read_npz(
  path: PathLike, wanted: Collection[str] | None = None
) -> dict[str, Shaped[np.ndarray, "..."]]:
  """Reads arrays of an .npz file.

  Args:
    path: of the file.
    wanted: names; those the file lacks are left out. All unless given.

  Raises:
    One of `DAMAGE`: if it is no archive of plain arrays.
  """
  with _archive(path) as archive:
    found = {}
    for info in archive.infolist():
      name = info.filename.removesuffix(".npy")
      if wanted is None or name in wanted:
        with archive.open(info) as stream:
          found[name] = _read(stream, info.file_size)
    return found


def _archive(path: PathLike) -> zipfile.ZipFile:
  with open(path, "rb") as stream:
    if stream.read(6) == np.lib.format.MAGIC_PREFIX:
      raise ValueError("a single array, not an archive")
  return zipfile.ZipFile(path)


def _read(stream: io.BufferedIOBase, size: int) -> Shaped[np.ndarray, "..."]:
  """Reads an array that with its header takes `size` bytes."""
  version = np.lib.format.read_magic(stream)
  if version == (1, 0):
    header = np.lib.format.read_array_header_1_0(stream)
  elif version == (2, 0):
    header = np.lib.format.read_array_header_2_0(stream)
  else:
    raise ValueError(f"an array file of version {version[0]}.{version[1]}")
  shape, by_columns, dtype = header
  if dtype.hasobject:
    raise ValueError("an array of Python objects")
  count = math.prod(shape)
  if min(shape, default=0) < 0 or count * dtype.itemsize > size:
    raise ValueError(f"an array {shape} of {dtype} in {size} bytes")
  data = stream.read(count * dtype.itemsize)
  if len(data) != count * dtype.itemsize:
    raise ValueError(f"{len(data)} bytes of an array {shape} of {dtype}")
  values = np.frombuffer(bytearray(data), dtype, count)
  return values.reshape(shape, order="F" if by_columns else "C")
