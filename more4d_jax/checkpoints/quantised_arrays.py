"""Kernels that become int8 while they are read, one array at a time."""

import dataclasses
from typing import Any

import numpy as np

from more4d_jax.checkpoints import array_trees, stored_arrays
from more4d_jax.models import quantised


def quantised_lazily(
  path: str, kernel: array_trees.LazyArray
) -> dict[str, array_trees.LazyArray]:
  """The numbers and the scales of a kernel, by path.

  Args:
    path: of the kernel, for which `quantised.is_meant` holds.
    kernel: in floating point, of one layer or of all.
  """
  whole = stored_arrays.changed(kernel, lambda index: kernel.read()[index])
  return {
    leaf: array_trees.LazyArray(a.shape, a.dtype, lambda a=a: a[...])
    for leaf, a in where_read(path, whole).items()
  }


def where_read(path: str, kernel: Any) -> dict[str, stored_arrays.StoredArray]:
  """The numbers and the scales of a kernel that is read a part at a time.

  Args:
    path: see `quantised_lazily`.
    kernel: in floating point, of one layer or of all; in memory or on disk.
  """
  *layers, _, outputs = kernel.shape
  source = _Source(path, kernel, np.zeros((*layers, outputs), np.float32))
  return {
    path: stored_arrays.changed(kernel, source.numbers, quantised.DTYPE),
    quantised.scale_path(path): stored_arrays.StoredArray(
      source.scales.shape, source.scales.dtype, source.read_scales
    ),
  }


@dataclasses.dataclass
class _Source:
  """A kernel, and its scales as far as they are known.

  Numbers and scales are asked for separately; scales are small.

  Attributes:
    path: of the kernel.
    kernel: in floating point.
    scales: 0 where they are not known yet, which no scale is.
  """

  path: str
  kernel: Any
  scales: np.ndarray

  def numbers(self, index: stored_arrays.Index) -> np.ndarray:
    *layers, rows, columns = index  # A scale needs all rows.
    part = np.asarray(self.kernel[*layers, :, columns])
    numbers, scales = quantised.quantise(part, self.path)
    self.scales[*layers, columns] = scales
    return numbers[..., rows, :]

  def read_scales(self, index: stored_arrays.Index) -> np.ndarray:
    if not self.scales[index].all():
      *layers, columns = index
      self.numbers((*layers, slice(None), columns))
    return self.scales[index]
