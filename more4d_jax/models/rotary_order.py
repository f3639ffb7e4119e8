"""The order in which a head holds the values that are rotated as pairs.

Published weights rotate neighbours, (2i, 2i + 1). Ours rotate values half a
head apart, (i, i + d/2), which a kernel does with whole lanes. One is a fixed
permutation of the other: applied to the outputs of the q and the k map, to
their biases and to the scales of their norms, it changes no product of a
query with a key. Parameters are permuted where published or older weights are
read, and back where they are written.
"""

from typing import TypeVar

import jax
import numpy as np

_Values = TypeVar("_Values", np.ndarray, jax.Array)

# Modules whose outputs are rotated, or normalised before that.
_MODULES = tuple(
  f"blocks/self_attn/{name}" for name in ("q", "k", "norm_q", "norm_k")
)


def is_rotated(path: str) -> bool:
  """Whether the last axis of a transformer's parameter is a rotated one.

  Args:
    path: of a module, or of its "kernel", "bias", "scale" or LoRA's "up".
  """
  module, _, leaf = path.rpartition("/")
  return path in _MODULES or (module in _MODULES and leaf != "down")


def half_split(values: _Values, head_dim: int) -> _Values:
  """Brings a last axis of heads from neighbouring pairs to our order."""
  return _swapped(values, head_dim, (head_dim // 2, 2))


def neighbours(values: _Values, head_dim: int) -> _Values:
  """Inverse of `half_split`."""
  return _swapped(values, head_dim, (2, head_dim // 2))


def _swapped(values: _Values, head_dim: int, inner: tuple[int, int]) -> _Values:
  if head_dim % 2 or values.shape[-1] % head_dim:
    raise ValueError(
      f"expected heads of {head_dim} values, an even number, found an axis of "
      f"{values.shape[-1]}"
    )
  apart = values.reshape(*values.shape[:-1], -1, *inner)
  return apart.swapaxes(-1, -2).reshape(values.shape)
