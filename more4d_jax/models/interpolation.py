"""Resizing by small matrices, one for rows and one for columns."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def linear_matrix(size: int, out: int) -> Float[np.ndarray, "out size"]:
  """Linear interpolation whose first and last samples keep their place."""
  matrix = np.zeros((out, size))
  place = np.arange(out) * ((size - 1) / max(out - 1, 1))
  low = np.minimum(place.astype(int), size - 1)
  high = np.minimum(low + 1, size - 1)
  np.add.at(matrix, (np.arange(out), low), 1.0 - (place - low))
  np.add.at(matrix, (np.arange(out), high), place - low)
  return matrix


def cubic_matrix(
  size: int, out: int, scale: float
) -> Float[np.ndarray, "out size"]:
  """Cubic interpolation (a = -0.75), edges repeated.

  Output i samples the input at (i + 0.5) / scale - 0.5.
  """

  def near(d: np.ndarray) -> np.ndarray:
    return (1.25 * d - 2.25) * d * d + 1.0

  def far(d: np.ndarray) -> np.ndarray:
    return ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0

  place = (np.arange(out) + 0.5) / scale - 0.5
  base = np.floor(place).astype(int)
  t = place - base
  matrix = np.zeros((out, size))
  weights = {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
  for offset, weight in weights.items():
    column = np.clip(base + offset, 0, size - 1)
    np.add.at(matrix, (np.arange(out), column), weight)
  return matrix


def apply_matrices(
  x: Float[Array, "B H W C"], rows: np.ndarray, columns: np.ndarray
) -> Float[Array, "B h w C"]:
  """Multiplies rows by [h H] and columns by [w W]."""
  rows = jnp.asarray(rows, x.dtype)
  columns = jnp.asarray(columns, x.dtype)
  x = jnp.einsum("hH,bHWc->bhWc", rows, x)
  return jnp.einsum("wW,bhWc->bhwc", columns, x)


def resize_linear(
  x: Float[Array, "B H W C"], height: int, width: int
) -> Float[Array, "B h w C"]:
  """Resizes linearly; corner samples keep their place."""
  if x.shape[1:3] == (height, width):
    return x
  return apply_matrices(
    x, linear_matrix(x.shape[1], height), linear_matrix(x.shape[2], width)
  )


def resize_cubic(
  x: Float[Array, "B H W C"], height: int, width: int
) -> Float[Array, "B h w C"]:
  """Resizes cubically, without smoothing first."""
  if x.shape[1:3] == (height, width):
    return x
  rows = cubic_matrix(x.shape[1], height, height / x.shape[1])
  columns = cubic_matrix(x.shape[2], width, width / x.shape[2])
  return apply_matrices(x, rows, columns)


def half_pixel_matrix(size: int, out: int) -> Float[np.ndarray, "out size"]:
  """Linear interpolation between pixel centres, edges repeated."""
  place = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
  low = place.astype(int)
  matrix = np.zeros((out, size))
  np.add.at(matrix, (np.arange(out), low), 1.0 - (place - low))
  high = np.minimum(low + 1, size - 1)
  np.add.at(matrix, (np.arange(out), high), place - low)
  return matrix


def resize_axes(
  x: Float[Array, "..."],
  axes: Sequence[int],
  sizes: Sequence[int],
) -> Float[Array, "..."]:
  """Resizes axes one after another, linearly between pixel centres.

  Without smoothing first; in float32.
  """
  x = x.astype(jnp.float32)
  for axis, size in zip(axes, sizes):
    if x.shape[axis] != size:
      matrix = half_pixel_matrix(x.shape[axis], size).astype(np.float32)
      x = jnp.moveaxis(jnp.tensordot(matrix, x, (1, axis)), 0, axis)
  return x
