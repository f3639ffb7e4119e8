"""Weights that a community ships in eight bits, with scales or without.

A tensor `X.weight` in fp8 or int8 stands for its values times the scale that
lies beside it, of the whole tensor or of each output; without a scale fp8
values are meant as they are. What else such files hold concerns products in
eight bits, which nothing here computes. Source: the layouts of ComfyUI
(`scale_weight` with a marker `scaled_fp8`; `weight_scale` with `comfy_quant`)
and LightX2V (`weight_scale`).
"""

import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import array_trees

_FP8 = (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))
_SCALED = (*_FP8, np.dtype(np.int8))
_SCALES = (".scale_weight", ".weight_scale")
# Of activations, and what tells ComfyUI how to multiply.
_ASIDE = (".scale_input", ".input_scale", ".comfy_quant")
# Of a file: a marker, and the tokenizer that ComfyUI puts into text encoders.
_OF_FILE = ("scaled_fp8", "spiece_model")


def read(
  tensors: Mapping[str, array_trees.LazyArray], what: str
) -> tuple[dict[str, array_trees.LazyArray], list[str]]:
  """Tensors with the values that they stand for.

  Scaled ones become float32; fp8 without a scale becomes bfloat16, which holds
  all its values.

  Args:
    tensors: of all shards, by published name.
    what: names the file in messages.

  Returns: the tensors that are weights, unread; and lines on what was scaled
    and what was left out.

  Raises:
    UserError: if a scale does not fit its tensor.
  """
  scales = _scales(tensors)
  aside = [
    name
    for name in tensors
    if _is_aside(name, tensors) or name in scales.values()
  ]
  found = {}
  for name, tensor in tensors.items():
    if name in scales:
      found[name] = _scaled(name, tensor, tensors[scales[name]], what)
    elif tensor.dtype in _FP8 and name not in aside:
      found[name] = tensor.astype(np.dtype(ml_dtypes.bfloat16))
    elif name not in aside:
      found[name] = tensor
  notes = []
  if scales:
    notes.append(f"{what}: {len(scales)} weights of eight bits times scales")
  others = sorted({_last(n) for n in aside} - {s[1:] for s in _SCALES})
  if others:
    count = sum(_last(name) in others for name in aside)
    notes.append(
      f"{what}: {count} tensors ({', '.join(others)}) that are no weights are "
      "left out"
    )
  return found, notes


def _last(name: str) -> str:
  return name.rpartition(".")[2]


def _scales(tensors: Mapping[str, array_trees.LazyArray]) -> dict[str, str]:
  """Name of a weight of eight bits -> that of its scale."""
  found = {}
  for name in tensors:
    for suffix in _SCALES:
      weight = f"{name.removesuffix(suffix)}.weight"
      if name.endswith(suffix) and weight in tensors:
        found[weight] = name
  return found


def _is_aside(name: str, tensors: Mapping[str, array_trees.LazyArray]) -> bool:
  if _last(name) in _OF_FILE:
    return True
  return any(
    name.endswith(suffix) and f"{name.removesuffix(suffix)}.weight" in tensors
    for suffix in _ASIDE
  )


def _scaled(
  name: str,
  tensor: array_trees.LazyArray,
  scale: array_trees.LazyArray,
  what: str,
) -> array_trees.LazyArray:
  outputs, count = tensor.shape[:1], math.prod(scale.shape)
  fits = count == 1 or (
    scale.shape[:1] == outputs and count == math.prod(outputs)
  )
  if tensor.dtype not in _SCALED or scale.dtype.kind not in "fV" or not fits:
    raise errors.UserError(
      f"{what}: {name} of {tensor.dtype} {tensor.shape} has a scale of "
      f"{scale.dtype} {scale.shape}, expected one number or one for each "
      "output: use the file in bfloat16"
    )

  def read() -> np.ndarray:
    factor = scale.read().astype(np.float32)
    if not np.isfinite(factor).all():
      raise errors.UserError(
        f"{what}: the scale of {name} is not finite: download it again"
      )
    axes = (1,) * (len(tensor.shape) - 1)
    factor = factor.reshape(-1, *axes) if count > 1 else factor.reshape(())
    return tensor.read().astype(np.float32) * factor

  return array_trees.LazyArray(tensor.shape, np.dtype(np.float32), read)
