"""The tensors of a LoRA file by module, whatever the trainer calls them."""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from more4d_jax.lora import names, strength

_PAIR = re.compile(
  r"(?P<module>.+?)[._]"
  r"(?:lora_|lora\.|lora_linear_layer\.)(?P<side>down|up|A|B)"
  r"(?:\.(?!weight$|bias$)[\w-]+)?"  # PEFT's name of the adapter.
  r"(?:\.(?P<leaf>weight|bias))?"
)
_OTHER = re.compile(
  r"(?P<module>.+)\.(?P<role>diff|diff_b|diff_m|w_norm|b_norm|alpha)"
)
# Full differences: what they are called -> the parameter of the module.
_DIFFERENCES = {
  "diff": "weight",
  "w_norm": "weight",
  "diff_b": "bias",
  "b_norm": "bias",
  "diff_m": "modulation",
}
_DORA = f"a DoRA's: {strength.DORA}"
_NOT_READ = {
  r".+[._](dora_scale|lora_magnitude_vector)(\..+)?": _DORA,
  r".+[._]hada_.+": "a LoHa's, which is another way to change weights",
  r".+[._]lokr_.+": "a LoKr's, which is another way to change weights",
  r".+[._](oft|boft)_.+": "an OFT's, which is another way to change weights",
  r".+[._]lora_mid(\..+)?": "the middle of a LoCon's convolution",
  r".+\.(set_weight|reshape_weight)": "a replacement of a whole weight",
  r".+\.(weight|bias)": "a whole weight, where differences are expected",
}
_VALUES = (
  "float64",
  "float32",
  "float16",
  "bfloat16",
  "float8_e4m3fn",
  "float8_e5m2",
)


@dataclasses.dataclass
class ModuleTensors:
  """The tensors of one module of a file, as they were written.

  Attributes:
    name: of the module in the file.
    down: from the input to the rank, (rank, input).
    up: from the rank to the output, (output, rank).
    up_bias: what the second map adds to its output.
    alpha: the module's own.
    differences: parameter of the module, as "bias" -> what is added to it.
  """

  name: str
  down: np.ndarray | None = None
  up: np.ndarray | None = None
  up_bias: np.ndarray | None = None
  alpha: np.ndarray | None = None
  differences: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def is_lora(found: Iterable[str]) -> bool:
  """Whether tensors of these names are those of a LoRA or its relatives."""
  relatives = [*list(_NOT_READ)[:5]]
  return any(
    _PAIR.fullmatch(name)
    or ((m := _OTHER.fullmatch(name)) and m["role"] != "alpha")
    or any(re.fullmatch(pattern, name) for pattern in relatives)
    for name in found
  )


def by_module(
  tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, ModuleTensors], list[str]]:
  """Sorts tensors into modules.

  Returns: name of a module in the file -> its tensors; and what is wrong with
    tensors that are none of a LoRA's, or whose values cannot be used.
  """
  modules: dict[str, ModuleTensors] = {}
  faults = []
  for name, value in tensors.items():
    fault = _fault(name, value)
    if fault:
      faults.append(f"{name} {fault}")
      continue
    pair, other = _PAIR.fullmatch(name), _OTHER.fullmatch(name)
    key = (pair or other)["module"]
    module = modules.setdefault(key, ModuleTensors(key))
    twice = _put(module, pair, other, value)
    if twice:
      faults.append(f"{name} is there in two spellings")
  return modules, faults


def _fault(name: str, value: np.ndarray) -> str | None:
  """Why a tensor cannot be used, if so."""
  if not (_PAIR.fullmatch(name) or _OTHER.fullmatch(name)):
    for pattern, reason in _NOT_READ.items():
      if re.fullmatch(pattern, name):
        return f"is {reason}"
    return "is no tensor of a LoRA"
  if value.dtype.name not in _VALUES:
    return f"is of the type {value.dtype.name}, expected floating point"
  if not np.isfinite(value.astype(np.float32)).all():
    return "holds values that are not finite"
  return None


def _put(
  module: ModuleTensors,
  pair: re.Match | None,
  other: re.Match | None,
  value: np.ndarray,
) -> bool:
  """Puts a tensor into its module; returns whether its place was taken."""
  if pair is None:
    role = other["role"]
    if role == "alpha":
      taken, module.alpha = module.alpha is not None, value
      return taken
    leaf = _DIFFERENCES[role]
    taken = leaf in module.differences
    module.differences[leaf] = value
    return taken
  place = "down" if pair["side"] in ("down", "A") else "up"
  if pair["leaf"] == "bias":
    place += "_bias"
  taken = getattr(module, place, None) is not None
  setattr(module, place, value)
  return taken


def fault_of_pair(module: ModuleTensors) -> str | None:
  """What is wrong with a module's matrices and alpha, if anything."""
  down, up, alpha = module.down, module.up, module.alpha
  if alpha is not None and alpha.size != 1:
    return f"has an alpha of shape {alpha.shape}, expected one number"
  if down is not None and up is not None:
    return _fault_of_shapes(down.shape, up.shape, module.up_bias)
  if not (down is None and up is None):
    return f"lacks its {'down' if down is None else 'up'} matrix"
  if module.up_bias is not None or alpha is not None:
    return "lacks its matrices"
  return None


def _fault_of_shapes(
  down: tuple[int, ...], up: tuple[int, ...], bias: np.ndarray | None
) -> str | None:
  if len(down) != len(up) or len(down) < 2 or down[0] != up[1]:
    return (
      f"has matrices {down} and {up}, expected (rank, input) and (output, rank)"
    )
  if down[0] == 0:
    return "has rank 0"
  if any(n != 1 for n in up[2:]):
    return f"has an up matrix {up}, expected (output, rank)"
  if bias is not None and bias.shape != up[:1]:
    return f"has a bias {bias.shape}, expected {up[:1]}"
  return None


def known(module: ModuleTensors) -> names.Parameter | None:
  """A parameter of the transformer that the module changes, if any."""
  leaves = ["weight", *module.differences]
  found = (names.find(f"{module.name}.{leaf}") for leaf in leaves)
  return next(filter(None, found), None) or names.find(module.name)
