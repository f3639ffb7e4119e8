"""Files of published weights: safetensors and PyTorch's, whole or in shards.

Tensors are read one by one.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import (
  array_trees,
  safetensors_files,
  scaled_weights,
)
from more4d_jax.pickles import files as pickled
from more4d_jax.pickles import stored_tensors

_SUFFIXES = (".safetensors", ".pth", ".bin", ".torch", ".pt")
_INDEX = ".index.json"
_SHARD = re.compile(r".+-(\d{5})-of-(\d{5})\.\w+")
# Where a training script keeps the weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params")
_SHOWN = 5  # Names in a message; more of them say nothing new.


@dataclasses.dataclass(frozen=True)
class Weights:
  """The tensors of one published checkpoint.

  Attributes:
    path: of the file, or of the index of its shards.
    tensors: by name, unread.
    config: of the config.json beside it, empty without one.
    header: the file's own strings, empty for shards.
    notes: lines on tensors that are read in another way than they are stored,
      or not at all.
  """

  path: pathlib.Path
  tensors: Mapping[str, array_trees.LazyArray]
  config: Mapping[str, Any]
  header: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor."""
    return {name: tensor.shape for name, tensor in self.tensors.items()}


def find(source: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Weight files in a folder and below it, shards as their index.

  Raises:
    UserError: if there are none, or shards without their index.
  """
  source = pathlib.Path(source)
  if source.is_file():
    _check_whole([source])
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
  _check_whole(single)
  if not indices and not single:
    raise errors.UserError(
      f"expected weights ({', '.join(_SUFFIXES)}) in {source}, found "
      f"{len(files)} other files: name the folder you downloaded"
    )
  return sorted([*indices, *single])


def _check_whole(files: Iterable[pathlib.Path]) -> None:
  """Refuses shards that no index joins."""
  for path in files:
    shard = _SHARD.fullmatch(path.name)
    if shard:
      raise errors.UserError(
        f"{path} is shard {int(shard[1])} of {int(shard[2])}: name the folder "
        f"that holds them all and their {_INDEX[1:]}"
      )


def _shards(index: pathlib.Path) -> dict[str, str]:
  """Name of a tensor -> that of the file beside the index that holds it."""
  found = read_object(index).get("weight_map")
  if not isinstance(found, dict):
    raise errors.UserError(f"{index} holds no weight_map: download it again")
  for name in found.values():
    beside = isinstance(name, str) and name not in ("", ".", "..")
    if not beside or re.search(r"[/\\\0]", name):
      raise errors.UserError(
        f"{index} names {str(name)[:80]!r}, expected the name of a file beside "
        "it: download it again"
      )
  return found


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON file that holds an object.

  Raises:
    UserError: if it does not, or names something twice.
  """
  try:
    found = json.loads(
      path.read_text("utf-8-sig"),
      object_pairs_hook=safetensors_files.without_repeats,
    )
  except (ValueError, RecursionError) as error:
    line = str(error).partition("\n")[0]
    raise errors.UserError(
      f"{path} is damaged ({line}): download it again"
    ) from error
  if not isinstance(found, dict):
    raise errors.UserError(f"{path} holds no JSON object: download it again")
  return found


def open_weights(path: pathlib.Path) -> Weights:
  """Opens a file, or the shards that an index names, and the config.json.

  Raises:
    UserError: if a file is absent, damaged, or holds no tensors.
  """
  beside = path.parent / "config.json"
  config = read_object(beside) if beside.is_file() else {}
  return dataclasses.replace(open_file(path), config=config)


def open_file(path: pathlib.Path) -> Weights:
  """As `open_weights`, whatever lies beside the file."""
  header: dict[str, str] = {}
  if path.name.endswith(_INDEX):
    tensors = _open_shards(path)
  else:
    tensors, header = _open_one(path)
  tensors, notes = scaled_weights.read(tensors, str(path))
  if not tensors:
    raise errors.UserError(f"{path} holds no tensors: name a file of weights")
  return Weights(path, tensors, {}, header, tuple(notes))


def _open_one(
  path: pathlib.Path,
) -> tuple[dict[str, array_trees.LazyArray], dict[str, str]]:
  if path.suffix == ".safetensors":
    return safetensors_files.open_file(path)
  return _open_torch(path), {}


def _open_shards(index: pathlib.Path) -> dict[str, array_trees.LazyArray]:
  places = _shards(index)
  files = sorted(set(places.values()))
  missing = [name for name in files if not (index.parent / name).is_file()]
  if missing:
    raise errors.UserError(
      f"{index} names {_some(missing)}, which is not beside it: download all "
      f"{len(files)} shards"
    )
  tensors: dict[str, array_trees.LazyArray] = {}
  held: dict[str, str] = {}
  for file in files:
    for name, tensor in _open_one(index.parent / file)[0].items():
      if name in held:
        raise errors.UserError(
          f"{index.parent / file} holds {name}, and so does {held[name]}: "
          "download all shards again"
        )
      tensors[name], held[name] = tensor, file
  lacking = [name for name, file in places.items() if held.get(name) != file]
  unnamed = [name for name in held if name not in places]
  if lacking or unnamed:
    parts = []
    if lacking:
      parts.append(f"{places[lacking[0]]} lacks {_some(lacking)}")
    if unnamed:
      parts.append(f"the index does not name {_some(unnamed)}")
    raise errors.UserError(
      f"{index} and its shards disagree: {'; '.join(parts)}; download all of "
      "them again"
    )
  return tensors


def _some(names: list[str]) -> str:
  more = len(names) - _SHOWN
  text = ", ".join(names[:_SHOWN])
  return f"{text} and {more} more" if more > 0 else text


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
