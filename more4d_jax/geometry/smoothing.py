"""Smoothing of motion along time."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def smooth(
  motion: Float[Array, "B T H W 3"], weight: float
) -> Float[Array, "B T H W 3"]:
  """Removes trembling from every point's motion.

  Of all curves that start where the motion does, the one with the least sum of
  squared distances from it plus `weight` times its squared third differences
  (its jerk). Motion that is quadratic in time is not changed. At weight 1 a
  wave with a period of nine frames keeps nine tenths of its amplitude, and one
  with a period of two frames keeps a sixtieth.

  Args:
    motion: of every point; fewer than four frames have no jerk.
    weight: at least 0; 0 changes nothing.

  Source: Whittaker's smoother with third differences, first value held.
  """
  frames = motion.shape[1]
  if not weight or frames < 4:
    return motion
  start = motion[:, :1]
  matrix = jnp.asarray(_smoother(frames, weight))
  smoothed = jnp.einsum("st,bthwc->bshwc", matrix, motion - start)
  return start + smoothed


@functools.cache
def _smoother(frames: int, weight: float) -> Float[np.ndarray, "T T"]:
  """Maps displacements from frame 0 to smooth ones, float32."""
  differences = np.diff(np.eye(frames), n=3, axis=0)[:, 1:]
  system = np.eye(frames - 1) + weight * differences.T @ differences
  matrix = np.zeros((frames, frames))
  matrix[1:, 1:] = np.linalg.inv(system)
  return matrix.astype(np.float32)
