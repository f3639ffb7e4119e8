"""LoRA files of every dialect, read; of four key styles, written.

Reading goes from a file's tensors to those of its modules (`tensors`), to the
parameters that they change (`names`) and how strongly (`strength`), to one
description of the changes, `models.lora.LoRA`. Source:
docs/method/weights.md#lora.
"""

import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import (
  array_trees,
  safetensors_files,
  weight_files,
)
from more4d_jax.lora import names, strength, tensors
from more4d_jax.models import lora as lora_lib

# Where diffusers keeps what PEFT must know, in the header of a file.
_PEFT_HEADER = "lora_adapter_metadata"
# What PEFT writes, and where its options are.
_PEFT_STEM, _PEFT_CONFIG = "adapter_model", "adapter_config.json"
_LEAVES = {"weight": "diff", "bias": "diff_b", "modulation": "diff_m"}
_SHOWN = 12  # Faults in a message; more of them say nothing new.

is_lora = tensors.is_lora


@dataclasses.dataclass(frozen=True)
class Style:
  """How a kind of file names its tensors.

  Attributes:
    prefix: before every module.
    names: key of `names.TABLES`.
    joint: what stands between the parts of a module's name.
    down: of the matrix from the input to the rank.
    up: of the matrix from the rank to the output.
    alpha: as a tensor of each module; else in the header of the file.
  """

  prefix: str
  names: str = "original"
  joint: str = "."
  down: str = "lora_down"
  up: str = "lora_up"
  alpha: bool = True


STYLES: Mapping[str, Style] = {
  "original": Style("lora_unet__", joint="_"),
  "kohya": Style("lora_unet_", joint="_"),
  "comfyui": Style("diffusion_model."),
  "diffusers": Style(
    "transformer.", "diffusers", down="lora_A", up="lora_B", alpha=False
  ),
}


@dataclasses.dataclass(frozen=True)
class Found:
  """What a file holds.

  Attributes:
    lora: its changes of the transformer.
    style: how it names most of its modules.
    left_out: number of tensors of a text-encoder LoRA, which is not applied.
  """

  lora: lora_lib.LoRA
  style: str
  left_out: int


def read(
  found: Mapping[str, np.ndarray],
  header: Mapping[str, str] | None = None,
  name: str = "the LoRA",
  beside: Mapping[str, Any] | None = None,
) -> Found:
  """Reads the tensors of a LoRA of any dialect.

  Without an alpha the scale is 1, as PEFT has it.

  Args:
    found: tensors by name.
    header: the file's own strings.
    name: for messages.
    beside: PEFT's options, where they are in a file of their own.

  Raises:
    UserError: if tensors are not a LoRA's, belong to no module of the
      transformer, are not finite, or do not fit each other; it lists them.
  """
  mine = {k: v for k, v in found.items() if not names.is_of_text_encoder(k)}
  modules, faults = tensors.by_module(mine)
  styles = _styles(modules.values())
  if not styles and not faults:
    first = f", such as {min(modules)}" if modules else ""
    raise errors.UserError(
      f"{name} holds no LoRA of this transformer: {len(modules)} modules"
      f"{first}, none of which it has by any name. Use a LoRA of Wan 2.1"
    )
  options = strength.read(header or {}, beside, name)
  changes = _Changes(options)
  for module in modules.values():
    faults += [f"{module.name} {fault}" for fault in changes.add(module)]
  if faults:
    raise errors.UserError(
      f"{name} is no LoRA of this transformer: {listed(faults)}. Use a LoRA of "
      "Wan 2.1 as it was published"
    )
  lora = lora_lib.LoRA(name, changes.pairs, changes.differences)
  return Found(lora, " and ".join(styles), len(found) - len(mine))


def describe(found: Found, use: str = "") -> str:
  """What was read, in words.

  Args:
    found: what `read` returned.
    use: what becomes of it, such as " for vism".
  """
  lora = found.lora
  parts = [f"{len(lora.modules)} modules"]
  if lora.differences:
    parts.append(f"{len(lora.differences)} full differences")
  line = f"{' and '.join(parts)}{use}, names of the style {found.style}"
  scales = sorted({pair.scale for pair in lora.modules.values()})
  if scales:
    more = f" to {scales[-1]:g}" if len(scales) > 1 else ""
    line += f", products times {scales[0]:g}{more}"
  if found.left_out:
    line += f", {found.left_out} tensors of a text-encoder LoRA left out"
  return line


def listed(faults: Sequence[str]) -> str:
  """Faults in one line, which stays short."""
  text = "; ".join(faults[:_SHOWN])
  more = len(faults) - _SHOWN
  return f"{text}; and {more} more" if more > 0 else text


class _Changes:
  """What modules of a file change, as it is collected."""

  def __init__(self, options: strength.Options):
    """Starts without any; the options say how strong they are."""
    self.pairs: dict[lora_lib.Place, lora_lib.LowRank] = {}
    self.differences: dict[lora_lib.Place, np.ndarray] = {}
    self._options = options

  def add(self, module: tensors.ModuleTensors) -> Iterator[str]:
    """Adds a module's changes, or yields what is wrong with them."""
    fault = tensors.fault_of_pair(module)
    if tensors.known(module) is None:
      fault = "is no module of the transformer"
    if fault:
      yield fault
      return
    for leaf, value in module.differences.items():
      yield from self._add_difference(module, leaf, value)
    if module.down is not None:
      yield from self._add_pair(module)

  def _add_difference(
    self, module: tensors.ModuleTensors, leaf: str, value: np.ndarray
  ) -> Iterator[str]:
    found = names.find(f"{module.name}.{leaf}")
    if found is None and leaf == "weight":  # Of a parameter without a module.
      found = names.find(module.name)
    if found is None:
      yield f"has no {leaf} in the transformer"
    elif value.ndim != len(found.row.dims):
      yield (
        f"changes its {leaf} by an array {value.shape}, expected "
        f"{len(found.row.dims)} axes"
      )
    elif any(
      n != 1
      for n, (length, name) in zip(value.shape, found.row.dims)
      if (length, name) == (1, "")
    ):
      yield f"changes its {leaf} by an array {value.shape}"
    elif found.place in self.differences:
      yield f"names its {leaf} for the second time"
    else:
      self.differences[found.place] = found.row.ours(value)

  def _add_pair(self, module: tensors.ModuleTensors) -> Iterator[str]:
    found = names.find(f"{module.name}.weight")
    if found is None or found.row.layout not in ("kernel", "frame_kernel"):
      yield "is no linear map of the transformer"
      return
    down, up = module.down, module.up
    rank, own = down.shape[0], module.alpha
    try:
      scale = self._options.scale(
        names.spellings(module.name, found),
        rank,
        None if own is None else float(own.reshape(())),
      )
    except ValueError as error:
      yield str(error)
      return
    path, layer = found.place
    place = path.removesuffix("/kernel"), layer
    if place in self.pairs:
      yield "names a module for the second time"
    elif down.ndim != len(found.row.dims):
      yield (
        f"has matrices {down.shape} and {up.shape}, expected "
        f"{len(found.row.dims)} axes"
      )
    elif down.ndim == 2:
      alpha = scale * rank
      self.pairs[place] = lora_lib.LowRank(down.T, up.T, alpha)
    else:  # A convolution, whose product is small.
      matrices = up.reshape(-1, rank), down.reshape(rank, -1)
      first, second = (m.astype(np.float32) for m in matrices)
      product = (scale * (first @ second)).reshape(up.shape[0], *down.shape[1:])
      yield from self._add_difference(module, "weight", product)
    if module.up_bias is not None:
      bias = np.float32(scale) * module.up_bias.astype(np.float32)
      yield from self._add_difference(module, "bias", bias)


def _styles(modules: Iterable[tensors.ModuleTensors]) -> list[str]:
  """How most modules are named: one style, or two if they are mixed."""
  counts: collections.Counter[str] = collections.Counter()
  for module in modules:
    found = tensors.known(module)
    if found is not None:
      counts[_style_of(module.name, found.table)] += 1
  return [style for style, _ in counts.most_common(2)]


def _style_of(name: str, table: str) -> str:
  if table == "diffusers":
    return table
  prefixes = {s.prefix: k for k, s in STYLES.items() if s.names == table}
  for prefix in sorted(prefixes, key=len, reverse=True):
    if name.startswith(prefix):
      return prefixes[prefix]
  return "native"


def module_name(style: str, place: lora_lib.Place) -> str:
  """What a style calls one of our linear maps.

  Raises:
    UserError: if it has no name for it.
  """
  path, layer = place
  name = _parameter_name(style, (f"{path}/kernel", layer))
  return STYLES[style].prefix + name.removesuffix(
    f"{STYLES[style].joint}weight"
  )


def _parameter_name(style: str, place: lora_lib.Place) -> str:
  """A parameter's name in a style, without the prefix."""
  rule = STYLES[style]
  row = names.published(place, rule.names)
  if row is None:
    raise errors.UserError(
      f"the style {style} has no name for {lora_lib.describe(place)}: write "
      "the LoRA in the style original"
    )
  return names.with_layer(row.name, place[1]).replace(".", rule.joint)


def write(
  lora: lora_lib.LoRA, style: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Names a LoRA's tensors in a style; the inverse of `read`.

  Returns: the tensors, and what belongs into the header of their file.

  Raises:
    UserError: for an unknown style, or a change that it has no name for.
  """
  if style not in STYLES:
    raise errors.UserError(
      f"unknown style of LoRA {style!r}: choose one of {', '.join(STYLES)}"
    )
  rule = STYLES[style]
  made, alphas, ranks = {}, {}, {}
  for place, pair in lora.modules.items():
    module = module_name(style, place)
    made[f"{module}.{rule.down}.weight"] = np.ascontiguousarray(pair.down.T)
    made[f"{module}.{rule.up}.weight"] = np.ascontiguousarray(pair.up.T)
    if rule.alpha:
      made[f"{module}.alpha"] = _exact(pair.alpha, pair.down.dtype)
    module = module.removeprefix(rule.prefix)
    alphas[module], ranks[module] = pair.alpha, pair.rank
  for place, value in lora.differences.items():
    if not rule.alpha:
      raise errors.UserError(
        f"the style {style} has no full differences, such as that of "
        f"{lora_lib.describe(place)}: write the LoRA in the style original"
      )
    row = names.published(place, rule.names)
    made[_difference_name(style, place)] = row.published(value)
  if rule.alpha or alphas == ranks:
    return made, {}
  values = {
    "transformer.r": max(ranks.values()),
    "transformer.lora_alpha": max(alphas.values()),
    "transformer.rank_pattern": ranks,
    "transformer.alpha_pattern": alphas,
    "transformer.target_modules": sorted(alphas),
  }
  return made, {_PEFT_HEADER: json.dumps(values, sort_keys=True)}


def _exact(alpha: float, dtype: np.dtype) -> np.ndarray:
  """An alpha in the type of its matrices, or float32 if that rounds it."""
  value = np.asarray(alpha, dtype)
  return value if float(value) == alpha else np.asarray(alpha, np.float32)


def _difference_name(style: str, place: lora_lib.Place) -> str:
  """What a style calls a full difference of a parameter."""
  name, joint = _parameter_name(style, place), STYLES[style].joint
  module, _, leaf = name.rpartition(joint)
  role = _LEAVES.get(leaf)
  whole = f"{module}.{role}" if role else f"{name}.diff"
  return STYLES[style].prefix + whole


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
  stored = weight_files.open_file(file)
  values = {name: tensor.read() for name, tensor in stored.tensors.items()}
  config = file.with_name(_PEFT_CONFIG)
  beside = None
  if file.stem == _PEFT_STEM and config.is_file():
    beside = weight_files.read_object(config)
  return read(values, stored.header, file.name, beside)


def save(path: str | os.PathLike[str], lora: lora_lib.LoRA, style: str) -> None:
  """Writes a LoRA file; nothing under its name until it is whole."""
  made, header = write(lora, style)
  final = pathlib.Path(path)
  temporary = final.with_name(final.name + ".partial")
  stored = {
    name: array_trees.LazyArray(value.shape, value.dtype, lambda v=value: v)
    for name, value in made.items()
  }
  safetensors_files.write(temporary, stored, header)
  os.replace(temporary, final)
