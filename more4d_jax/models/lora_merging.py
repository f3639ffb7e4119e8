"""LoRAs added to parameters, of a whole network or a part of an array."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from more4d_jax import errors
from more4d_jax.models import lora, quantised

# One slice with a start and a stop for each axis of an array.
Index = tuple[slice, ...]
_Change = Callable[[Index], np.ndarray]  # A part of what is added.


def merge(
  params: Mapping[str, Any], loras: Sequence[lora.Weighted], head_dim: int
) -> dict[str, Any]:
  """Adds LoRAs to the parameters, in float32, each one cast back once.

  One layer at a time is in float32, so that little memory is needed.

  Args:
    params: a transformer's parameters in host memory, without boxes; left as
      they are.
    loras: all that are applied, with their weights.
    head_dim: values per head of the transformer.

  Returns: new parameters, which share the arrays that no LoRA changes.

  Raises:
    UserError: as `lora.check`, and if values become too large for the type, or
      are int8.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  for path, read in merged(params, loras, head_dim).items():
    flat[path] = read(tuple(slice(0, size) for size in flat[path].shape))
  return traverse_util.unflatten_dict(flat, sep="/")


def merged(
  params: Mapping[str, Any], loras: Sequence[lora.Weighted], head_dim: int
) -> dict[str, Callable[[Index], np.ndarray]]:
  """Parameters with LoRAs added, a part at a time; arguments as in `merge`.

  Args:
    params: may hold any arrays that can be indexed; only parts that are asked
      for are.
    loras: all that are applied, with their weights.
    head_dim: values per head of the transformer.

  Returns: path of every parameter that changes -> a function that takes one
    slice for each axis and returns that part.

  Raises:
    UserError: as `lora.check`, and for int8; the functions if values become
      too large for their type.
  """
  for item in loras:
    lora.check(params, item.lora)
  flat = traverse_util.flatten_dict(params, sep="/")
  files = ", ".join(item.lora.name for item in loras)
  changes = _changes(loras, head_dim)
  for path in changes:
    if flat[path].dtype == quantised.DTYPE:
      raise errors.UserError(
        f"{files}: the full difference of {path} cannot be added to int8 "
        "weights: use a checkpoint in bfloat16, with --dtype int8"
      )
  return {
    path: functools.partial(_merged_part, path, flat[path], layers, files)
    for path, layers in changes.items()
  }


def _merged_part(
  path: str,
  array: Any,
  layers: Mapping[int | None, Sequence[_Change]],
  files: str,
  index: Index,
) -> np.ndarray:
  """A part of an array with its changes added."""
  found = np.array(array[index])
  first = index[0].start if index else 0
  for layer, changes in layers.items():
    if layer is not None and layer not in range(first, index[0].stop):
      continue
    at = () if layer is None else layer - first
    total = found[at].astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
      for change in changes:
        total += change(index if layer is None else index[1:])
      found[at] = total.astype(found.dtype)
    if not np.isfinite(found[at].astype(np.float32)).all():
      raise errors.UserError(
        f"{files}: {lora.describe((path, layer))} becomes too large for "
        f"{found.dtype.name}: apply less of it, or get the file again"
      )
  return found


def _changes(
  loras: Sequence[lora.Weighted], head_dim: int
) -> dict[str, dict[int | None, list[_Change]]]:
  """Parameter -> layer -> what is added to it."""
  found: dict[str, dict[int | None, list[_Change]]] = {}

  def note(place: lora.Place, change: _Change) -> None:
    path, layer = place
    found.setdefault(path, {}).setdefault(layer, []).append(change)

  for item in loras:
    for (path, layer), pair in item.lora.modules.items():
      factor = np.float32(item.weight * pair.scale)

      def product(index, path=path, pair=pair, factor=factor) -> np.ndarray:
        rows, columns = index
        up = lora.our_up(path, pair, head_dim)[:, columns]
        return factor * (pair.down[rows].astype(np.float32) @ up)

      note((f"{path}/kernel", layer), product)
    for place, value in item.lora.differences.items():

      def whole(
        index, path=place[0], value=value, weight=item.weight
      ) -> np.ndarray:
        ours = lora.our_order(path, value.astype(np.float32), head_dim)
        return np.float32(weight) * ours[index]

      note(place, whole)
  return found
