"""Tensors of PyTorch's files, whose values stay where they are stored."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from more4d_jax import errors

DTYPES: Mapping[str, Any] = {
  "Double": np.float64,
  "Float": np.float32,
  "Half": np.float16,
  "BFloat16": ml_dtypes.bfloat16,
  "Long": np.int64,
  "Int": np.int32,
  "Short": np.int16,
  "Char": np.int8,
  "Byte": np.uint8,
  "Bool": np.bool_,
}
"""PyTorch's name of a storage's type -> NumPy's."""


@dataclasses.dataclass(frozen=True)
class Storage:
  """Numbers in a row, still where they were stored.

  Attributes:
    dtype: of each.
    size: how many.
    fetch: (first byte, number of bytes) -> bytes.
  """

  dtype: np.dtype
  size: int
  fetch: Callable[[int, int], bytes | bytearray]

  def read(self, start: int, count: int) -> np.ndarray:
    """Returns `count` numbers from number `start` on.

    Raises:
      EOFError: there are fewer.
    """
    width = self.dtype.itemsize
    data = self.fetch(start * width, count * width)
    if len(data) != count * width:
      raise EOFError(f"{count * width} bytes of a tensor, found {len(data)}")
    return np.frombuffer(data, self.dtype)


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """A tensor whose values are still in its file.

  Attributes:
    shape: of the tensor.
    dtype: of its values.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  _storage: Storage
  _start: int
  _strides: tuple[int, ...]

  @property
  def nbytes(self) -> int:
    """Bytes that reading it takes."""
    return math.prod(self.shape) * self.dtype.itemsize

  def read(self) -> np.ndarray:
    """Returns the values, contiguous.

    Raises:
      UserError: if the file has become shorter.
    """
    if 0 in self.shape:
      return np.zeros(self.shape, self.dtype)
    try:
      flat = self._storage.read(self._start, self._span)
    except (EOFError, OSError) as error:
      raise errors.UserError(f"a tensor cannot be read: {error}") from error
    width = self.dtype.itemsize
    strides = tuple(stride * width for stride in self._strides)
    view = np.lib.stride_tricks.as_strided(flat, self.shape, strides)
    return np.ascontiguousarray(view).reshape(self.shape)

  @property
  def _span(self) -> int:
    steps = zip(self.shape, self._strides)
    return 1 + sum((length - 1) * stride for length, stride in steps)

  def check(self) -> "StoredTensor":
    """Returns itself if all of it lies inside its storage."""
    numbers = (*self.shape, *self._strides, self._start)
    if len(self.shape) != len(self._strides) or any(
      not isinstance(n, int) or n < 0 for n in numbers
    ):
      raise ValueError("a tensor has impossible sizes or strides")
    # Zero and repeating strides would let a small file claim a huge tensor.
    if math.prod(self.shape) > max(self._span, 0) and 0 not in self.shape:
      raise ValueError("a tensor is larger than what is stored of it")
    if 0 not in self.shape and self._start + self._span > self._storage.size:
      raise ValueError("a tensor reaches beyond what is stored of it")
    return self
