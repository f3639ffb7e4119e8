"""LoRAs beside the products of kernels that stay as they are.

Those of a file stand among a network's parameters, as "down" and "up" beside
"kernel", so that they are placed and freed with it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from more4d_jax import errors
from more4d_jax.models import lora

DOWN, UP = "down", "up"


def variables(
  params: Mapping[str, Any], loras: Sequence[lora.Weighted], head_dim: int
) -> dict[str, Any]:
  """The collection `lora` that applies LoRAs beside the dense products.

  Pass it as `module.apply({"params": params, "lora": ...})`, nested as the
  parameters are. Ranks add up; layers without a change get zeros.

  Args:
    params: a transformer's parameters or their shapes, without boxes.
    loras: all that are applied, with their weights.
    head_dim: values per head of the transformer.

  Raises:
    UserError: as `lora.check`, and for full differences, which stand beside no
      product.
  """
  for item in loras:
    lora.check(params, item.lora)
    if item.lora.differences:
      raise errors.UserError(
        f"{item.lora.name} holds {len(item.lora.differences)} full "
        "differences, which can only be merged: merge it"
      )
  pairs: dict[str, dict[int | None, list[tuple[np.ndarray, np.ndarray]]]] = {}
  for item in loras:
    for (path, layer), pair in item.lora.modules.items():
      factor = np.float32(item.weight * pair.scale)
      up = factor * lora.our_up(path, pair, head_dim)
      place = pairs.setdefault(path, {}).setdefault(layer, [])
      place.append((pair.down.astype(np.float32), up))
  kernels = lora.linear_maps(params)
  flat = {}
  for path, found in pairs.items():
    shape = kernels[path].shape
    rank = max(sum(d.shape[1] for d, _ in ps) for ps in found.values())
    down = np.zeros((*shape[:-1], rank), np.float32)
    up = np.zeros((*shape[:-2], rank, shape[-1]), np.float32)
    for layer, parts in found.items():
      at = () if layer is None else (layer,)
      used = sum(d.shape[1] for d, _ in parts)
      down[at][:, :used] = np.concatenate([d for d, _ in parts], axis=1)
      up[at][:used] = np.concatenate([u for _, u in parts], axis=0)
    flat[f"{path}/{DOWN}"], flat[f"{path}/{UP}"] = down, up
  return traverse_util.unflatten_dict(flat, sep="/")


def apart(
  loras: Sequence[lora.Weighted],
) -> tuple[list[lora.Weighted], list[lora.Weighted]]:
  """Full differences, which stand beside no product, and low-rank changes."""
  whole, pairs = [], []
  for item in loras:
    differences, modules = (
      dataclasses.replace(item.lora, **{left_out: {}})
      for left_out in ("modules", "differences")
    )
    whole.append(dataclasses.replace(item, lora=differences))
    pairs.append(dataclasses.replace(item, lora=modules))
  return whole, pairs


def collections(params: Mapping[str, Any]) -> dict[str, Any]:
  """Flax's variables of parameters that may have LoRAs beside kernels."""
  flat = traverse_util.flatten_dict(params, sep="/")
  found = {
    path: value
    for path, value in flat.items()
    if path.rpartition("/")[2] in (DOWN, UP)
  }
  if not found:
    return {"params": params}
  rest = {path: value for path, value in flat.items() if path not in found}
  return {
    "params": traverse_util.unflatten_dict(rest, sep="/"),
    lora.COLLECTION: traverse_util.unflatten_dict(found, sep="/"),
  }
