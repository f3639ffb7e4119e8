"""Safetensors files, read and written one tensor at a time.

A file is not mapped into memory, because mapped pages count as memory in use;
nor written by the library, which wants all tensors at once. A header is not
believed: types, shapes and places must be those of the bytes that are there.
Source: the format's specification.
"""

import json
import math
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import array_trees

_DTYPES: Mapping[str, np.dtype] = {
  name: np.dtype(dtype)
  for name, dtype in {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
  }.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_HEADER = "__metadata__"


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object, for `json.loads`, that names nothing twice.

  Raises:
    ValueError: if it does.
  """
  found = dict(pairs)
  if len(found) != len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"it names {twice[:80]!r} twice")
  return found


def open_file(
  path: pathlib.Path,
) -> tuple[dict[str, array_trees.LazyArray], dict[str, str]]:
  """The tensors of a file, unread, and its own strings.

  Raises:
    UserError: if the file is damaged or truncated.
  """
  with path.open("rb") as file:
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    total = path.stat().st_size
    if not 2 <= length <= total - 8:
      raise errors.UserError(
        f"{path} is truncated or no safetensors file: it has {total} bytes; "
        "download it again"
      )
    text = file.read(length)
  try:
    entries = json.loads(text, object_pairs_hook=without_repeats)
    header = _strings(entries.pop(_HEADER, {}))
    places = {name: _place(name, facts) for name, facts in entries.items()}
  except (ValueError, TypeError, AttributeError, RecursionError) as error:
    line = str(error).partition("\n")[0] or type(error).__name__
    raise errors.UserError(
      f"the header of {path} is damaged ({line}): download it again"
    ) from error
  _check_places(path, places, total - 8 - length)
  base = 8 + length
  tensors = {
    name: _lazy(path, dtype, shape, base + start)
    for name, (dtype, shape, start, _) in places.items()
  }
  return tensors, header


def _strings(found: Any) -> dict[str, str]:
  if not isinstance(found, dict) or not all(
    isinstance(value, str) for value in found.values()
  ):
    raise ValueError(f"its {_HEADER} is no object of strings")
  return found


_Place = tuple[np.dtype, tuple[int, ...], int, int]


def _place(name: str, facts: Any) -> _Place:
  """Type, shape, first byte and last byte of a tensor.

  Raises:
    ValueError: if they do not fit each other; says how.
  """
  what = name[:80]
  if not isinstance(facts, dict) or not {
    "dtype",
    "shape",
    "data_offsets",
  } <= set(facts):
    raise ValueError(f"{what} lacks its type, shape or place")
  dtype = _DTYPES.get(str(facts["dtype"]))
  if dtype is None:
    raise ValueError(f"{what} has the unknown type {str(facts['dtype'])[:20]}")
  shape, offsets = facts["shape"], facts["data_offsets"]
  if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
    raise ValueError(f"{what} has a shape or place that is no list of counts")
  start, stop = offsets
  if stop - start != math.prod(shape) * dtype.itemsize:
    raise ValueError(
      f"{what} of shape {shape} and type {dtype} lies in bytes {start} to "
      f"{stop}"
    )
  return dtype, tuple(shape), start, stop


def _are_counts(found: Any) -> bool:
  return (
    isinstance(found, list)
    and len(found) <= 32
    and all(type(n) is int and 0 <= n < 2**63 for n in found)
  )


def _check_places(
  path: pathlib.Path, places: Mapping[str, _Place], size: int
) -> None:
  """Tensors must fill the file without a gap, one behind the other."""
  end = max((stop for *_, stop in places.values()), default=0)
  if end != size:
    raise errors.UserError(
      f"{path} is truncated: its header announces {end} bytes of tensors, the "
      f"file has {size}; download it again"
    )
  reached = 0
  for name, (_, _, start, stop) in sorted(
    places.items(), key=lambda item: item[1][2:]
  ):
    if start != reached:
      raise errors.UserError(
        f"the header of {path} is damaged (tensors overlap or leave a gap at "
        f"{name[:80]}): download it again"
      )
    reached = stop


def _lazy(
  path: pathlib.Path, dtype: np.dtype, shape: tuple[int, ...], start: int
) -> array_trees.LazyArray:
  count = math.prod(shape)

  def read() -> np.ndarray:
    found = np.fromfile(path, np.uint8, count * dtype.itemsize, offset=start)
    if found.size != count * dtype.itemsize:
      raise errors.UserError(f"{path} became shorter while it was read")
    return found.view(dtype).reshape(shape)

  return array_trees.LazyArray(shape, dtype, read)


def write(
  path: pathlib.Path,
  tensors: Mapping[str, array_trees.LazyArray],
  header: Mapping[str, str] | None = None,
) -> None:
  """Writes a file, one tensor in memory at a time.

  Args:
    path: new; its folder is made.
    tensors: by name.
    header: the file's own strings.
  """
  entries: dict[str, Any] = {_HEADER: {"format": "pt", **(header or {})}}
  start = 0
  for name, tensor in tensors.items():
    stop = start + math.prod(tensor.shape) * tensor.dtype.itemsize
    entries[name] = {
      "dtype": _NAMES[np.dtype(tensor.dtype)],
      "shape": list(tensor.shape),
      "data_offsets": [start, stop],
    }
    start = stop
  text = json.dumps(entries, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # Tensors start at a multiple of eight.
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for name, tensor in tensors.items():
      value = np.asarray(tensor.read(), tensor.dtype, order="C")
      if value.shape != tensor.shape:
        raise ValueError(f"{name} is {value.shape}, announced {tensor.shape}")
      file.write(value.reshape(-1).view(np.uint8).data)
