"""Kernels in int8, each output with a scale of its own.

A kernel [D E] is held as whole numbers from -127 to 127 and one float32 scale
for each of its E outputs, beside it under the name `SCALE`. A product is
(x @ numbers) * scale: the numbers are brought to the type of the products
where they are multiplied, so that one layer's kernels at most exist in it.

What is held so: the kernels of transformers' and encoders' scanned layers,
which are most of a large network. All else keeps its type: biases, norms,
gates and tables are small; what embeddings of patches, contexts and time lose
would reach every layer, and what the head loses the velocity; words are looked
up, not multiplied.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Float32, Int8

from more4d_jax import errors, partitioning

DTYPE = np.dtype(np.int8)
SCALE = "kernel_scale"
_LARGEST = 127
_KERNELS = re.compile(r"(?:[^/]+/)?blocks/.+/kernel")


def is_meant(path: str) -> bool:
  """Whether int8 is for a parameter.

  Args:
    path: of a parameter of a transformer or encoder, or of a network that has
      them, such as "dit/blocks/ffn/fc1/kernel".
  """
  return _KERNELS.fullmatch(path) is not None


def scale_path(path: str) -> str:
  """Where the scales of a kernel are."""
  return f"{path.removesuffix('kernel')}{SCALE}"


def is_scale(path: str) -> bool:
  """Whether a parameter holds the scales of a kernel."""
  return path.rpartition("/")[2] == SCALE


def is_int8(arrays: Iterable[Any]) -> bool:
  """Whether there are such kernels among the parameters of a network."""
  return any(np.dtype(array.dtype) == DTYPE for array in arrays)


def quantise(
  kernel: Float[np.ndarray, "*L D E"], name: str = "a kernel"
) -> tuple[Int8[np.ndarray, "*L D E"], Float32[np.ndarray, "*L E"]]:
  """The nearest numbers and their scales, largest magnitude / 127.

  One layer at a time is in float32, so that little memory is needed.

  Args:
    kernel: inputs, then outputs; before them perhaps layers.
    name: of the kernel, for messages.

  Raises:
    UserError: if a value is not finite.
  """
  if kernel.ndim > 2:
    values = np.empty(kernel.shape, DTYPE)
    scales = np.empty((*kernel.shape[:-2], kernel.shape[-1]), np.float32)
    for i, layer in enumerate(kernel):
      values[i], scales[i] = quantise(layer, name)
    return values, scales
  work = np.array(kernel, np.float32)
  largest = np.maximum(work.max(axis=0), -work.min(axis=0))
  if not np.isfinite(largest).all():
    raise errors.UserError(
      f"expected finite values in {name}, found others: get the weights again, "
      "or keep them in bfloat16"
    )
  scale = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny)
  return np.rint(np.divide(work, scale, out=work), out=work).astype(
    DTYPE
  ), scale


def params(tree: Mapping[str, Any]) -> dict[str, Any]:
  """A network's parameters, those that int8 is for in it, others as they are.

  Args:
    tree: nested dict of numpy arrays of a network or of a part.

  Raises:
    UserError: if a value that becomes int8 is not finite.
  """
  flat = traverse_util.flatten_dict(tree, sep="/")
  for path in filter(is_meant, list(flat)):
    flat[path], flat[scale_path(path)] = quantise(flat[path], path)
  return traverse_util.unflatten_dict(flat, sep="/")


def shapes(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Boxed shapes of a network whose kernels become int8.

  Args:
    tree: boxed shapes of a network or of a part, as `jax.eval_shape` of its
      initialisation gives them.
  """
  flat = traverse_util.flatten_dict(
    tree, sep="/", is_leaf=lambda _, leaf: partitioning.is_box(leaf)
  )
  for path, box in list(flat.items()):
    if is_meant(path):
      names, shape = box.names, box.value.shape
      flat[path] = box.replace_boxed(jax.ShapeDtypeStruct(shape, DTYPE))
      flat[scale_path(path)] = nn.LogicallyPartitioned(
        jax.ShapeDtypeStruct((*shape[:-2], shape[-1]), np.float32),
        (*names[:-2], names[-1]),
      )
  return traverse_util.unflatten_dict(flat, sep="/")
