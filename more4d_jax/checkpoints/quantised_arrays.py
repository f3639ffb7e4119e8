"""Kernels that become int8 while they are read, one array at a time."""

import dataclasses

import numpy as np

from more4d_jax.checkpoints import array_trees
from more4d_jax.models import quantised


def quantised_lazily(
  path: str, kernel: array_trees.LazyArray
) -> dict[str, array_trees.LazyArray]:
  """The numbers and the scales of a kernel, by path.

  Args:
    path: of the kernel, for which `quantised.is_meant` holds.
    kernel: in floating point, of one layer or of all.
  """
  source = _Source(path, kernel)
  scales = (*kernel.shape[:-2], kernel.shape[-1])
  return {
    path: array_trees.LazyArray(kernel.shape, quantised.DTYPE, source.numbers),
    quantised.scale_path(path): array_trees.LazyArray(
      scales, np.dtype(np.float32), source.scales
    ),
  }


@dataclasses.dataclass
class _Source:
  """A kernel, and its scales from when it was read until they are asked for.

  Numbers and scales are written far apart; scales are small.
  """

  path: str
  kernel: array_trees.LazyArray
  found: np.ndarray | None = None

  def numbers(self) -> np.ndarray:
    numbers, self.found = quantised.quantise(self.kernel.read(), self.path)
    return numbers

  def scales(self) -> np.ndarray:
    if self.found is None:
      self.numbers()
    scales, self.found = self.found, None
    return scales
