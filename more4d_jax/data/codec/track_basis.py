"""Which motions over time a scene is made of: a basis fitted to its points.

All sums that decide run over whole numbers or in float64 and are rounded
coarsely, so that the number of threads does not change the result.
"""

import numpy as np
from jaxtyping import Float, Float32

ROUND = 1 << 14
"""The basis is a multiple of 1 / ROUND, and at most 1."""

_SAMPLES = 40_000  # Points that enter the fit.
_JUDGED = 8_000  # Points that choose the size.
_LARGEST = 16.0  # Motions above this are left to corrections; keeps sums exact.
_REACHED = 0.4  # Share of the tolerance that the basis may miss.
_PLANE_COST = 0.25  # Bytes of another plane for each moving point; measured.
_POINT_COST = 0.25  # Bytes of each value of a corrected point; measured.


def fit(
  motion: Float32[np.ndarray, "T 3 M"], tolerance: float
) -> Float32[np.ndarray, "T K"]:
  """The basis by which a scene's points take the fewest bytes.

  Args:
    motion: of the points that move, in units of their first depth.
    tolerance: bound of the coding in the same unit.

  Returns: nearly orthonormal columns, 0 to T of them.
  """
  frames = len(motion)
  if not motion.size:
    return np.zeros((frames, 0), np.float32)
  sample = _spread(motion, _SAMPLES).reshape(frames, -1)
  whole = np.rint(np.clip(sample, -_LARGEST, _LARGEST) * (2.0 / tolerance))
  whole = whole.astype(np.float64)
  _, vectors = np.linalg.eigh(whole @ whole.T)
  vectors = vectors[:, ::-1]
  size = _size(_spread(motion, _JUDGED), vectors, tolerance)
  return (np.rint(vectors[:, :size] * ROUND) / ROUND).astype(np.float32)


def project(
  motion: Float32[np.ndarray, "T N"], basis: Float32[np.ndarray, "T K"]
) -> Float[np.ndarray, "K N"]:
  """Least-squares coefficients of motions."""
  return np.linalg.pinv(basis.astype(np.float64)) @ motion


def step(basis: Float32[np.ndarray, "T K"], deviation: float) -> float:
  """Step of the coefficients, so that few motions are off by `deviation`.

  Errors of the coefficients are spread evenly over a step and independent, so
  their sum has a known spread; 3.2 of it are allowed. They also cannot be
  worse than all at their largest together.
  """
  size = np.abs(basis.astype(np.float64))
  if not size.size:
    return deviation
  spread = 3.2 * np.sqrt((size**2).sum(axis=1).max() / 12)
  worst = size.sum(axis=1).max() / 2
  return float(deviation / min(spread, worst))


def _spread(
  motion: Float32[np.ndarray, "T 3 M"], count: int
) -> Float32[np.ndarray, "T 3 m"]:
  return motion[:, :, :: max(1, -(-motion.shape[2] // count))]


def _size(
  motion: Float32[np.ndarray, "T 3 m"],
  vectors: Float[np.ndarray, "T R"],
  tolerance: float,
) -> int:
  """Number of vectors by which planes and corrections take fewest bytes."""
  frames, _, count = motion.shape
  rest = motion.reshape(frames, -1).astype(np.float64)
  best, cheapest = 0, np.inf
  for size in range(vectors.shape[1] + 1):
    if size:
      vector = vectors[:, size - 1 : size]
      rest = rest - vector @ (vector.T @ rest)
    worst = np.abs(rest).max(axis=0).reshape(3, count).max(axis=0)
    missed = (worst > _REACHED * tolerance).mean()
    cost = _PLANE_COST * size + _POINT_COST * 3 * frames * missed
    if cost < cheapest:
      best, cheapest = size, cost
    if not missed:
      break
  return best
