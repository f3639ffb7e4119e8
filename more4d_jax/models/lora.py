"""Low-rank adaptation (LoRA): unmerged, merged, several at once with weights.

A LoRA changes linear maps by W + weight * alpha / rank * down @ up. Its
modules are named by our parameter paths, without the leaf, and by the layer
where layers are stacked. Source: docs/method/view_completion.md#lora.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Key

from more4d_jax import errors, partitioning
from more4d_jax.models import rotary_order

# Flax's collection of variables that unmerged application reads.
COLLECTION = "lora"
# Modules whose kernels have a layers axis before input and output.
STACKS = ("blocks",)

# (path such as "blocks/self_attn/q", layer or None outside a stack)
Place = tuple[str, int | None]


@dataclasses.dataclass(frozen=True)
class LowRank:
  """The change of one linear map.

  Attributes:
    down: from the input to the rank.
    up: from the rank to the output.
    alpha: the product is scaled by alpha / rank.
  """

  down: Float[np.ndarray, "D R"]
  up: Float[np.ndarray, "R E"]
  alpha: float

  @property
  def rank(self) -> int:
    """Width between the two maps."""
    return self.down.shape[1]

  @property
  def scale(self) -> float:
    """What the product is multiplied with, besides a weight."""
    return self.alpha / self.rank


@dataclasses.dataclass(frozen=True)
class LoRA:
  """The changes of one file or of one training.

  Outputs are in the published order. Those that are rotated are brought to
  ours where they are applied (see `rotary_order`): a file does not tell how
  many heads there are.

  Attributes:
    name: for messages.
    modules: by place.
  """

  name: str
  modules: Mapping[Place, LowRank]


@dataclasses.dataclass(frozen=True)
class LoRAConfig:
  """A LoRA to train.

  Attributes:
    rank: of every module.
    alpha: see `LowRank`.
  """

  rank: int
  alpha: float


@dataclasses.dataclass(frozen=True)
class Weighted:
  """A LoRA and how much of it is applied; 1 is how it was trained."""

  lora: LoRA
  weight: float = 1.0


def describe(place: Place) -> str:
  """A place in words, for messages."""
  path, layer = place
  return path if layer is None else f"{path} of layer {layer}"


def is_stacked(path: str) -> bool:
  """Whether a module's kernel has a layers axis."""
  return path.split("/")[0] in STACKS


def linear_maps(params: Mapping[str, Any]) -> dict[str, Any]:
  """Path -> kernel [D E], or [layers D E], of every linear map.

  Args:
    params: a transformer's parameters or their shapes, without boxes.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  kernels = {
    path.removesuffix("/kernel"): leaf
    for path, leaf in flat.items()
    if path.endswith("/kernel")
  }
  return {
    path: leaf
    for path, leaf in kernels.items()
    if leaf.ndim == (3 if is_stacked(path) else 2)
  }


def check(params: Mapping[str, Any], lora: LoRA) -> None:
  """Compares a LoRA with a transformer.

  Raises:
    UserError: if modules are unknown or of another shape; it lists them all.
  """
  kernels = linear_maps(params)
  faults = [*_faults(kernels, lora)]
  if faults:
    raise errors.UserError(
      f"{lora.name} is a LoRA for another network, {len(faults)} of its "
      f"{len(lora.modules)} modules do not fit: {'; '.join(faults)}. Use a "
      "LoRA that was trained on this checkpoint's base"
    )


def _faults(kernels: Mapping[str, Any], lora: LoRA) -> Iterator[str]:
  for (path, layer), pair in lora.modules.items():
    where = describe((path, layer))
    if path not in kernels:
      yield f"{where} is no linear map of this network"
      continue
    *stack, width, features = kernels[path].shape
    if stack and not (layer is not None and 0 <= layer < stack[0]):
      yield f"{where} does not exist, there are {stack[0]} layers"
    elif not stack and layer is not None:
      yield f"{where} is not in a stack of layers"
    elif (pair.down.shape[0], pair.up.shape[1]) != (width, features):
      yield (
        f"{where} maps {pair.down.shape[0]} to {pair.up.shape[1]}, expected "
        f"{width} to {features}"
      )


def _our_up(path: str, pair: LowRank, head_dim: int) -> np.ndarray:
  """The matrix from the rank to outputs in our order, in float32."""
  up = pair.up.astype(np.float32)
  if rotary_order.is_rotated(path):
    return rotary_order.half_split(up, head_dim)
  return up


def merge(
  params: Mapping[str, Any], loras: Sequence[Weighted], head_dim: int
) -> tuple[dict[str, Any], list[int]]:
  """Adds LoRAs to the kernels, in float32, each kernel cast back once.

  Args:
    params: a transformer's parameters in host memory, without boxes; left as
      they are.
    loras: all that are applied, with their weights.
    head_dim: values per head of the transformer.

  Returns:
    New parameters, which share the arrays that no LoRA changes, and the
    number of modules that each LoRA changed.

  Raises:
    UserError: as `check`.
  """
  for item in loras:
    check(params, item.lora)
  flat = traverse_util.flatten_dict(params, sep="/")
  changes: dict[str, list[tuple[int | None, LowRank, float]]] = {}
  for item in loras:
    for (path, layer), pair in item.lora.modules.items():
      changes.setdefault(path, []).append((layer, pair, item.weight))
  for path, pairs in changes.items():
    kernel = np.asarray(flat[f"{path}/kernel"])
    total = kernel.astype(np.float32)  # A copy.
    for layer, pair, weight in pairs:
      down, up = pair.down.astype(np.float32), _our_up(path, pair, head_dim)
      target = total if layer is None else total[layer]
      target += np.float32(weight * pair.scale) * (down @ up)
    flat[f"{path}/kernel"] = total.astype(kernel.dtype)
  merged = traverse_util.unflatten_dict(flat, sep="/")
  return merged, [len(item.lora.modules) for item in loras]


def variables(
  params: Mapping[str, Any], loras: Sequence[Weighted], head_dim: int
) -> dict[str, Any]:
  """The collection `lora` that applies LoRAs beside the dense products.

  Pass it as `module.apply({"params": params, "lora": ...})`, nested as the
  parameters are. Ranks add up; layers without a change get zeros.

  Args:
    params: a transformer's parameters or their shapes, without boxes.
    loras: all that are applied, with their weights.
    head_dim: values per head of the transformer.

  Raises:
    UserError: as `check`.
  """
  for item in loras:
    check(params, item.lora)
  pairs: dict[str, dict[int | None, list[tuple[np.ndarray, np.ndarray]]]] = {}
  for item in loras:
    for (path, layer), pair in item.lora.modules.items():
      factor = np.float32(item.weight * pair.scale)
      up = factor * _our_up(path, pair, head_dim)
      place = pairs.setdefault(path, {}).setdefault(layer, [])
      place.append((pair.down.astype(np.float32), up))
  kernels = linear_maps(params)
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
    flat[f"{path}/down"], flat[f"{path}/up"] = down, up
  return traverse_util.unflatten_dict(flat, sep="/")


def init(
  key: Key[Array, ""], params: Mapping[str, Any], rank: int
) -> dict[str, Any]:
  """A LoRA to train on every linear map: the identity at first.

  Args:
    key: of the draws.
    params: a transformer's boxed parameters or their shapes.
    rank: of every module.

  Returns: boxed nested "down" U(-1/sqrt(D), 1/sqrt(D)) and "up" 0, float32,
    which lie on a mesh as the kernels' inputs and outputs do.

  Source: docs/method/view_completion.md#lora.
  """
  boxes = traverse_util.flatten_dict(
    params, sep="/", is_leaf=lambda _, leaf: partitioning.is_box(leaf)
  )
  flat = {}
  kernels = sorted(linear_maps(partitioning.unbox(params)).items())
  for number, (path, kernel) in enumerate(kernels):
    *stack, width, features = kernel.shape
    *above, inner, outer = boxes[f"{path}/kernel"].names
    down = partitioning.param(_uniform, (*above, inner, None))
    up = partitioning.param(jax.nn.initializers.zeros, (*above, None, outer))
    mine = jax.random.fold_in(key, number)
    flat[f"{path}/down"] = down(mine, (*stack, width, rank))
    flat[f"{path}/up"] = up(mine, (*stack, rank, features))
  return traverse_util.unflatten_dict(flat, sep="/")


def _uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
  bound = shape[-2] ** -0.5
  return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def scaled(tree: Mapping[str, Any], config: LoRAConfig) -> Mapping[str, Any]:
  """The collection that applies a LoRA in training: ups times alpha / rank."""
  flat = traverse_util.flatten_dict(tree, sep="/")
  factor = config.alpha / config.rank
  return traverse_util.unflatten_dict(
    {k: v * factor if k.endswith("/up") else v for k, v in flat.items()},
    sep="/",
  )


def from_trained(
  name: str, tree: Mapping[str, Any], alpha: float, head_dim: int
) -> LoRA:
  """A trained LoRA, layer by layer.

  Args:
    name: for messages.
    tree: as `init` made it, without boxes; `scaled` applied it.
    alpha: see `LowRank`.
    head_dim: values per head of the transformer.
  """
  flat = traverse_util.flatten_dict(tree, sep="/")
  modules = {}
  for path in sorted({key.rpartition("/")[0] for key in flat}):
    down, up = (np.asarray(flat[f"{path}/{leaf}"]) for leaf in ("down", "up"))
    if rotary_order.is_rotated(path):
      up = rotary_order.neighbours(up, head_dim)
    if is_stacked(path):
      for layer in range(len(down)):
        modules[path, layer] = LowRank(down[layer], up[layer], alpha)
    else:
      modules[path, None] = LowRank(down, up, alpha)
  return LoRA(name, modules)
