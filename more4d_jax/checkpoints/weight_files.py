"""Files of published weights: safetensors and PyTorch's, whole or in shards.

Tensors are read one by one. A safetensors file is not mapped into memory,
because mapped pages count as memory in use; nor written by the library, which
wants all tensors at once.
"""

import dataclasses
import json
import math
import os
import pathlib
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import array_trees
from more4d_jax.pickles import files as pickled
from more4d_jax.pickles import stored_tensors

_SUFFIXES = (".safetensors", ".pth", ".bin", ".torch", ".pt")
_INDEX = ".index.json"
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
# Where a training script keeps the weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params")


@dataclasses.dataclass(frozen=True)
class Weights:
  """The tensors of one published checkpoint.

  Attributes:
    path: of the file, or of the index of its shards.
    tensors: by name, unread.
    config: of the config.json beside it, empty without one.
  """

  path: pathlib.Path
  tensors: Mapping[str, array_trees.LazyArray]
  config: Mapping[str, Any]

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor."""
    return {name: tensor.shape for name, tensor in self.tensors.items()}


def find(source: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Weight files in a folder and below it, shards as their index.

  Raises:
    UserError: if there are none.
  """
  source = pathlib.Path(source)
  if source.is_file():
    return [source]
  if not source.is_dir():
    raise errors.UserError(
      f"expected a file or folder of weights, found no {source}: name what you "
      "downloaded"
    )
  files = [p for p in sorted(source.rglob("*")) if p.is_file()]
  indices = [p for p in files if p.name.endswith(_INDEX)]
  sharded = {p.parent / n for p in indices for n in _shards(p).values()}
  single = [p for p in files if p.suffix in _SUFFIXES and p not in sharded]
  if not indices and not single:
    raise errors.UserError(
      f"expected weights ({', '.join(_SUFFIXES)}) in {source}, found "
      f"{len(files)} other files: name the folder you downloaded"
    )
  return sorted([*indices, *single])


def _shards(index: pathlib.Path) -> dict[str, str]:
  found = _read_object(index).get("weight_map")
  if not isinstance(found, dict):
    raise errors.UserError(f"{index} holds no weight_map: download it again")
  return found


def _read_object(path: pathlib.Path) -> dict[str, Any]:
  try:
    found = json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise errors.UserError(
      f"{path} is damaged ({error}): download it again"
    ) from error
  if not isinstance(found, dict):
    raise errors.UserError(f"{path} holds no JSON object: download it again")
  return found


def open_weights(path: pathlib.Path) -> Weights:
  """Opens a file, or the shards that an index names.

  Raises:
    UserError: if a file is absent, damaged, or holds no tensors.
  """
  beside = path.parent / "config.json"
  config = _read_object(beside) if beside.is_file() else {}
  if path.name.endswith(_INDEX):
    tensors = _open_shards(path)
  elif path.suffix == ".safetensors":
    tensors = _open_safetensors(path)
  else:
    tensors = _open_torch(path)
  if not tensors:
    raise errors.UserError(f"{path} holds no tensors: name a file of weights")
  return Weights(path, tensors, config)


def _open_shards(index: pathlib.Path) -> dict[str, array_trees.LazyArray]:
  places = _shards(index)
  tensors: dict[str, array_trees.LazyArray] = {}
  for name in sorted(set(places.values())):
    file = index.parent / name
    if not file.is_file():
      raise errors.UserError(
        f"{index} names {name}, which is not beside it: download all shards"
      )
    tensors.update(open_weights(file).tensors)
  differing = sorted(set(places) ^ set(tensors))
  if differing:
    raise errors.UserError(
      f"{index} and its shards disagree about {', '.join(differing)}: download "
      "all of them again"
    )
  return tensors


def _open_safetensors(path: pathlib.Path) -> dict[str, array_trees.LazyArray]:
  with path.open("rb") as file:
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    total = path.stat().st_size
    if not 2 <= length <= total - 8:
      raise errors.UserError(
        f"{path} is truncated or no safetensors file: it has {total} bytes; "
        "download it again"
      )
    try:
      header = json.loads(file.read(length))
      entries = {k: v for k, v in header.items() if k != "__metadata__"}
      found = {
        name: _facts(facts, path, 8 + length) for name, facts in entries.items()
      }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise errors.UserError(
        f"the header of {path} is damaged ({error!r}): download it again"
      ) from error
  end = max((stop for _, stop in found.values()), default=8 + length)
  if end != total:
    raise errors.UserError(
      f"{path} is truncated: its header announces {end} bytes, the file has "
      f"{total}; download it again"
    )
  return {name: tensor for name, (tensor, _) in found.items()}


def _facts(
  facts: Mapping[str, Any], path: pathlib.Path, base: int
) -> tuple[array_trees.LazyArray, int]:
  """A tensor and where it ends in the file."""
  dtype = _DTYPES[facts["dtype"]]
  shape = tuple(int(n) for n in facts["shape"])
  start, stop = facts["data_offsets"]
  if start < 0 or stop - start != math.prod(shape) * dtype.itemsize:
    raise ValueError(f"{shape} {dtype} in bytes {start} to {stop}")

  def read() -> np.ndarray:
    data = np.fromfile(path, np.uint8, stop - start, offset=base + start)
    if data.size != stop - start:
      raise errors.UserError(f"{path} became shorter while it was read")
    return data.view(dtype).reshape(shape)

  return array_trees.LazyArray(shape, dtype, read), base + stop


def _open_torch(path: pathlib.Path) -> dict[str, array_trees.LazyArray]:
  found = pickled.read_lazily(path)
  while isinstance(found, Mapping):
    inner = [k for k in _WRAPPERS if isinstance(found.get(k), Mapping)]
    if not inner:
      break
    found = found[inner[0]]
  if not isinstance(found, Mapping) or not all(
    isinstance(value, stored_tensors.StoredTensor) for value in found.values()
  ):
    raise errors.UserError(
      f"expected tensors by name in {path}, found other things: name a file of "
      "weights"
    )
  return {
    str(name): array_trees.LazyArray(value.shape, value.dtype, value.read)
    for name, value in found.items()
  }


def write_safetensors(
  path: pathlib.Path, tensors: Mapping[str, array_trees.LazyArray]
) -> None:
  """Writes a safetensors file, one tensor in memory at a time.

  Args:
    path: new; its folder is made.
    tensors: by name.
  """
  header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
  start = 0
  for name, tensor in tensors.items():
    stop = start + math.prod(tensor.shape) * tensor.dtype.itemsize
    header[name] = {
      "dtype": _NAMES[np.dtype(tensor.dtype)],
      "shape": list(tensor.shape),
      "data_offsets": [start, stop],
    }
    start = stop
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # Tensors start at a multiple of eight.
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for name, tensor in tensors.items():
      value = np.ascontiguousarray(tensor.read(), tensor.dtype)
      if value.shape != tensor.shape:
        raise ValueError(f"{name} is {value.shape}, announced {tensor.shape}")
      file.write(value.reshape(-1).view(np.uint8).data)


def remembering_last(
  tensors: Mapping[str, array_trees.LazyArray],
) -> Callable[[str], np.ndarray]:
  """Reads tensors by name; asking again for the last one reads nothing."""
  last: dict[str, np.ndarray] = {}

  def read(name: str) -> np.ndarray:
    if name not in last:
      last.clear()
      last[name] = tensors[name].read()
    return last[name]

  return read


def dtypes_of(
  tensors: Mapping[str, array_trees.LazyArray], names: Iterable[str]
) -> dict[str, list[str]]:
  """Name of a type -> the tensors of that type."""
  found: dict[str, list[str]] = {}
  for name in names:
    found.setdefault(np.dtype(tensors[name].dtype).name, []).append(name)
  return found
