"""LoRA files of four key styles, read and written.

All styles come from the name tables of the transformer; a style says what
stands before a module's name, how the name is spelled, and how the two
matrices and alpha are called. Source: docs/method/weights.md#lora.
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from more4d_jax import errors
from more4d_jax.models import lora as lora_lib
from more4d_jax.name_maps import dit, table

# Where diffusers keeps what PEFT must know, in the header of a file.
_PEFT_HEADER = "lora_adapter_metadata"
# The original's own text-encoder LoRA, which nothing applies
# (docs/method/weights.md#lora).
_TEXT_ENCODER = "lora_te_"
_TENSOR = re.compile(
  r"(?P<module>.+)\.(?:(?P<down>lora_down|lora_A)|(?P<up>lora_up|lora_B))"
  r"(?:\.default)?\.weight|(?P<alpha_of>.+)\.alpha"
)
_LAYER = re.compile(r"(\D+?)(\d+)(\D.*)")


@dataclasses.dataclass(frozen=True)
class Style:
  """How a kind of file names its tensors.

  Attributes:
    prefix: before every module; the first one is written, all are read.
    names: table of module names.
    joint: what stands between the parts of a module's name.
    down: of the matrix from the input to the rank.
    up: of the matrix from the rank to the output.
    alpha: as a tensor of each module; else in the header of the file.
  """

  prefix: tuple[str, ...]
  names: table.Table
  joint: str = "."
  down: str = "lora_down"
  up: str = "lora_up"
  alpha: bool = True


STYLES: Mapping[str, Style] = {
  "original": Style(("lora_unet__",), dit.DIT, "_"),
  "kohya": Style(("lora_unet_",), dit.DIT, "_"),
  "comfyui": Style(("diffusion_model.", "model.diffusion_model."), dit.DIT),
  "diffusers": Style(
    ("transformer.", "base_model.model.", ""),
    dit.DIFFUSERS,
    down="lora_A",
    up="lora_B",
    alpha=False,
  ),
}


@functools.cache
def _modules(style: Style) -> dict[str, str]:
  """Module as this style spells it, "{i}" for the layer -> our path."""
  found = {}
  for row in style.names.rows:
    if row.layout == "kernel" and len(row.dims) == 2:
      module = row.name.removesuffix(".weight").replace(".", style.joint)
      found[module] = row.paths[0].removesuffix("/kernel")
  return found


def _place(style: Style, name: str) -> lora_lib.Place | None:
  """Which of our modules a published one is, None for no such module."""
  modules = _modules(style)
  for prefix in sorted(style.prefix, key=len, reverse=True):
    if not name.startswith(prefix):
      continue
    module = name.removeprefix(prefix)
    if module in modules:
      return modules[module], None
    layer = _LAYER.fullmatch(module)
    if layer:
      template = f"{layer.group(1)}{table.LAYER}{layer.group(3)}"
      if template in modules:
        return modules[template], int(layer.group(2))
  return None


def module_name(style: str, place: lora_lib.Place) -> str:
  """What a style calls one of our modules.

  Raises:
    UserError: if it has no name for it.
  """
  found = STYLES[style]
  path, layer = place
  for module, ours in _modules(found).items():
    if ours == path:
      number = "" if layer is None else str(layer)
      return found.prefix[0] + module.replace(table.LAYER, number)
  raise errors.UserError(
    f"the style {style} has no name for {lora_lib.describe(place)}: write the "
    f"LoRA in the style original"
  )


def is_lora(names: Iterable[str]) -> bool:
  """Whether tensors of these names are a LoRA's."""
  return any(_TENSOR.fullmatch(name) for name in names)


@dataclasses.dataclass(frozen=True)
class Found:
  """What a file holds.

  Attributes:
    lora: its changes of the transformer.
    style: name of its key style.
    left_out: number of tensors of a text-encoder LoRA, which is not applied.
  """

  lora: lora_lib.LoRA
  style: str
  left_out: int


@dataclasses.dataclass
class _Module:
  """The tensors of one module, as they are collected."""

  down: np.ndarray | None = None
  up: np.ndarray | None = None
  alpha: float | None = None


def read(
  tensors: Mapping[str, np.ndarray],
  header: Mapping[str, str] | None = None,
  name: str = "the LoRA",
) -> Found:
  """Reads the tensors of a LoRA of any style.

  Without an alpha the scale is 1, as PEFT has it.

  Args:
    tensors: by published name.
    header: the file's own strings.
    name: for messages.

  Raises:
    UserError: if tensors are not a LoRA's, belong to no module of the
      transformer, or do not fit each other; it lists them all.
  """
  mine = {k: v for k, v in tensors.items() if not k.startswith(_TEXT_ENCODER)}
  style = _detect(mine, name)
  modules: dict[str, _Module] = {}
  unknown = []
  for key, value in mine.items():
    found = _TENSOR.fullmatch(key)
    if not found:
      unknown.append(key)
      continue
    module = modules.setdefault(
      found.group("module") or found.group("alpha_of"), _Module()
    )
    if found.group("down"):
      module.down = value
    elif found.group("up"):
      module.up = value
    else:
      module.alpha = float(value.reshape(()))
  faults = [f"{key} is no tensor of a LoRA" for key in sorted(unknown)]
  alphas = _Header(header or {}, STYLES[style])
  pairs: dict[lora_lib.Place, lora_lib.LowRank] = {}
  for key, module in modules.items():
    place = _place(STYLES[style], key)
    fault = _fault(key, place, module)
    if fault or place in pairs:
      faults.append(fault or f"{key} names a module for the second time")
      continue
    alpha = alphas.of(key) if module.alpha is None else module.alpha
    rank = module.down.shape[0]
    pairs[place] = lora_lib.LowRank(
      module.down.T, module.up.T, float(rank if alpha is None else alpha)
    )
  if faults:
    raise errors.UserError(
      f"{name} is no LoRA of this transformer: {'; '.join(faults)}. Use a LoRA "
      "of Wan 2.1 as it was published"
    )
  left_out = len(tensors) - len(mine)
  return Found(lora_lib.LoRA(name, pairs), style, left_out)


def _fault(
  key: str, place: lora_lib.Place | None, module: _Module
) -> str | None:
  """What is wrong with a module's tensors, if anything."""
  if place is None:
    return f"{key} is no module of the transformer"
  down, up = module.down, module.up
  if down is None or up is None:
    return f"{key} lacks its {'down' if down is None else 'up'} matrix"
  if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
    return (
      f"{key} has matrices {down.shape} and {up.shape}, expected (rank, input) "
      "and (output, rank)"
    )
  return None


def _detect(names: Iterable[str], what: str) -> str:
  """The style in which most modules are known.

  Raises:
    UserError: if none knows any.
  """
  modules = {m["module"] for m in map(_TENSOR.fullmatch, names) if m}
  modules = {name for name in modules if name}
  counts = {
    name: sum(_place(style, module) is not None for module in modules)
    for name, style in STYLES.items()
  }
  best = max(counts, key=counts.get)
  if not counts[best]:
    first = f", such as {min(modules)}" if modules else ""
    raise errors.UserError(
      f"{what} holds no LoRA of this transformer: {len(modules)} modules"
      f"{first}, none of which a known style ({', '.join(STYLES)}) has. Use a "
      "LoRA of Wan 2.1"
    )
  return best


class _Header:
  """Alphas that PEFT keeps in the header of a file."""

  def __init__(self, header: Mapping[str, str], style: Style):
    """Reads the header; one without PEFT's part knows no alpha."""
    text = header.get(_PEFT_HEADER)
    self._values: dict[str, Any] = {} if text is None else json.loads(text)
    self._prefix = style.prefix

  def of(self, module: str) -> float | None:
    """The alpha of a module, None where the header says nothing."""
    for prefix in sorted(self._prefix, key=len, reverse=True):
      if module.startswith(prefix):
        module = module.removeprefix(prefix)
        break
    values = {
      k.removeprefix("transformer."): v for k, v in self._values.items()
    }
    return values.get("alpha_pattern", {}).get(module, values.get("lora_alpha"))


def write(
  lora: lora_lib.LoRA, style: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Names a LoRA's tensors in a style; the inverse of `read`.

  Returns: the tensors, and what belongs into the header of their file.

  Raises:
    UserError: for an unknown style, or a module that it has no name for.
  """
  if style not in STYLES:
    raise errors.UserError(
      f"unknown style of LoRA {style!r}: choose one of {', '.join(STYLES)}"
    )
  rule = STYLES[style]
  tensors, alphas, ranks = {}, {}, {}
  for place, pair in lora.modules.items():
    module = module_name(style, place)
    tensors[f"{module}.{rule.down}.weight"] = np.ascontiguousarray(pair.down.T)
    tensors[f"{module}.{rule.up}.weight"] = np.ascontiguousarray(pair.up.T)
    if rule.alpha:
      tensors[f"{module}.alpha"] = np.asarray(pair.alpha, pair.down.dtype)
    module = module.removeprefix(rule.prefix[0])
    alphas[module], ranks[module] = pair.alpha, pair.rank
  if rule.alpha or alphas == ranks:
    return tensors, {}
  values = {
    "transformer.r": max(ranks.values()),
    "transformer.lora_alpha": max(alphas.values()),
    "transformer.rank_pattern": ranks,
    "transformer.alpha_pattern": alphas,
    "transformer.target_modules": sorted(alphas),
  }
  return tensors, {_PEFT_HEADER: json.dumps(values, sort_keys=True)}


def load(path: str | os.PathLike[str]) -> Found:
  """Reads a LoRA file.

  Raises:
    UserError: if it is absent, damaged, or as `read`.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    raise errors.UserError(
      f"expected a LoRA file, found no {file}: check --lora"
    )
  try:
    tensors = safetensors_numpy.load_file(file)
    with safetensors.safe_open(file, "numpy") as opened:
      header = opened.metadata() or {}
    return read(tensors, header, file.name)
  except (safetensors.SafetensorError, json.JSONDecodeError) as error:
    raise errors.UserError(
      f"{file} is no whole safetensors file ({error}): download it again"
    ) from error


def save(path: str | os.PathLike[str], lora: lora_lib.LoRA, style: str) -> None:
  """Writes a LoRA file; nothing under its name until it is whole."""
  tensors, header = write(lora, style)
  final = pathlib.Path(path)
  final.parent.mkdir(parents=True, exist_ok=True)
  temporary = final.with_name(final.name + ".partial")
  safetensors_numpy.save_file(tensors, temporary, metadata=header or None)
  os.replace(temporary, final)
