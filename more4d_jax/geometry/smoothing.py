"""Smoothing of motion along time."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


def smooth(
  motion: Float[Array, "B T H W 3"], matrix: Float[ArrayLike, "T T"] | None
) -> Float[Array, "B T H W 3"]:
  """Removes trembling from every point's motion.

  Args:
    motion: of every point.
    matrix: of `smoother`; None changes nothing.
  """
  if matrix is None:
    return motion
  start = motion[:, :1]
  return start + jnp.einsum("st,bthwc->bshwc", matrix, motion - start)


@functools.cache
def smoother(frames: int, weight: float) -> Float[np.ndarray, "T T"] | None:
  """Maps displacements from frame 0 to smooth ones, float32.

  Of all curves that start where the motion does, the one with the least sum of
  squared distances from it plus `weight` times its squared third differences
  (its jerk). Motion that is quadratic in time is not changed. At weight 1 a
  wave with a period of nine frames keeps nine tenths of its amplitude, and one
  with a period of two frames keeps a sixtieth.

  Args:
    frames: of the motion.
    weight: at least 0.

  Returns: the matrix; None if nothing changes, as at weight 0, or with fewer
    than four frames, which have no jerk.

  Source: Whittaker's smoother with third differences, first value held.
  """
  if not weight or frames < 4:
    return None
  differences = np.diff(np.eye(frames), n=3, axis=0)[:, 1:]
  system = np.eye(frames - 1) + weight * differences.T @ differences
  matrix = np.zeros((frames, frames))
  matrix[1:, 1:] = np.linalg.inv(system)
  return matrix.astype(np.float32)
