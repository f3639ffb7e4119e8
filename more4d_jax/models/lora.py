"""Low-rank adaptation (LoRA): unmerged, merged, several at once with weights.

A LoRA changes linear maps by W + weight * alpha / rank * down @ up. Its
modules are named by our parameter paths, without the leaf, and by the layer
where layers are stacked. Distilled ones hold full differences of some
parameters too, which are added times the weight. Source:
docs/method/view_completion.md#lora.
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
_SHOWN = 12  # Faults in a message; more of them say nothing new.

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
    """Factor of the product, besides a weight."""
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
    differences: parameter, such as ("blocks/ffn/fc1/bias", 2) -> what is added
      to it.
  """

  name: str
  modules: Mapping[Place, LowRank]
  differences: Mapping[Place, np.ndarray] = dataclasses.field(
    default_factory=dict
  )

  @property
  def size(self) -> int:
    """Number of changes."""
    return len(self.modules) + len(self.differences)


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
    if len(leaf.shape) == (3 if is_stacked(path) else 2)
  }


def check(params: Mapping[str, Any], lora: LoRA) -> None:
  """Compares a LoRA with a transformer.

  Args:
    params: a transformer's parameters or their shapes, without boxes.
    lora: to be applied to them.

  Raises:
    UserError: if changes are of unknown parameters or of another shape.
  """
  faults = [*_pair_faults(params, lora), *_difference_faults(params, lora)]
  if faults:
    shown, more = faults[:_SHOWN], len(faults) - _SHOWN
    text = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
    raise errors.UserError(
      f"{lora.name} is a LoRA for another network, {len(faults)} of its "
      f"{lora.size} modules do not fit: {text}. Use a "
      "LoRA that was trained on this checkpoint's base"
    )


def _pair_faults(params: Mapping[str, Any], lora: LoRA) -> Iterator[str]:
  kernels = linear_maps(params)
  for (path, layer), pair in lora.modules.items():
    where = describe((path, layer))
    if path not in kernels:
      yield f"{where} is no linear map of this network"
      continue
    *stack, width, features = kernels[path].shape
    fault = _layer_fault(stack, layer)
    if fault:
      yield f"{where} {fault}"
    elif (pair.down.shape[0], pair.up.shape[1]) != (width, features):
      yield (
        f"{where} maps {pair.down.shape[0]} to {pair.up.shape[1]}, expected "
        f"{width} to {features}"
      )


def _difference_faults(params: Mapping[str, Any], lora: LoRA) -> Iterator[str]:
  flat = traverse_util.flatten_dict(params, sep="/")
  for (path, layer), value in lora.differences.items():
    where = describe((path, layer))
    if path not in flat:
      yield f"{where} is no parameter of this network"
      continue
    shape = tuple(flat[path].shape)
    stack, inner = (shape[:1], shape[1:]) if is_stacked(path) else ((), shape)
    fault = _layer_fault(stack, layer)
    if fault:
      yield f"{where} {fault}"
    elif value.shape != inner:
      yield f"{where} changes by {value.shape}, expected {inner}"


def _layer_fault(stack: Sequence[int], layer: int | None) -> str | None:
  """Why a layer's number does not fit a stack; None if it fits."""
  if stack and not (layer is not None and 0 <= layer < stack[0]):
    return f"does not exist, there are {stack[0]} layers"
  if not stack and layer is not None:
    return "is not in a stack of layers"
  return None


def our_up(path: str, pair: LowRank, head_dim: int) -> np.ndarray:
  """The matrix from the rank to outputs in our order, in float32."""
  return our_order(path, pair.up.astype(np.float32), head_dim)


def our_order(path: str, value: np.ndarray, head_dim: int) -> np.ndarray:
  """Values whose last axis is that of a parameter or module, in our order."""
  if rotary_order.is_rotated(path):
    return rotary_order.half_split(value, head_dim)
  return value


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
