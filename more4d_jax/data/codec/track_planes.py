"""Tracks as a product: a few planes of coefficients times a basis in time.

With X_t the position of a point at frame t and z its depth at frame 0,

  X_t = X_0 + z * sum_k basis[t, k] * planes[k]

for all points but a few: `corrections` are added to those that the basis does
not reach, and `exact` points are listed with their positions. The sum is the
motion that networks learn, (X_t - X_0) / z. K planes are several times smaller
than T frames, so a loader may return the planes and let the device multiply
them (`geometry.track_planes`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from more4d_jax import errors

_CHUNK = 1 << 14  # Points multiplied at a time; they stay in the cache.


@dataclasses.dataclass(frozen=True)
class TrackPlanes:
  """The factors of dense tracks.

  Attributes:
    basis: of motion over time; zero at frame 0.
    planes: coefficients of x, y, z in units of the point's first depth.
    first: positions at frame 0; NaN where there is no valid point.
    corrected: points (numbers in row-major order) with corrections.
    corrections: what to add to their motion, in units of the first depth.
    listed: points that are listed instead.
    exact: their positions.
  """

  basis: Float32[np.ndarray, "T K"]
  planes: Float32[np.ndarray, "K 3 H W"]
  first: Float32[np.ndarray, "H W 3"]
  corrected: Int[np.ndarray, "C"]
  corrections: Float32[np.ndarray, "T C 3"]
  listed: Int[np.ndarray, "E"]
  exact: Float32[np.ndarray, "T E 3"]

  def tracks(
    self, frames: Sequence[int] | np.ndarray | None = None
  ) -> Float32[np.ndarray, "F H W 3"]:
    """Positions at the given frames, or at all."""
    chosen = slice(None) if frames is None else np.asarray(frames, int)
    basis = np.ascontiguousarray(self.basis[chosen])
    height, width, _ = self.first.shape
    first = self.first.reshape(-1, 3)
    unit = np.ascontiguousarray(first[:, 2])
    planes = self.planes.reshape(basis.shape[1], 3, len(first))
    found = np.empty((len(basis), len(first), 3), np.float32)
    with np.errstate(all="ignore"):  # Invalid points are NaN, or listed.
      for start in range(0, len(first), _CHUNK):
        part = slice(start, start + _CHUNK)
        for axis in range(3):
          motion = basis @ planes[:, axis, part]
          motion *= unit[part]
          motion += first[part, axis]
          found[:, part, axis] = motion
    if self.corrected.size:
      moved = self.corrections[chosen] * unit[self.corrected, None]
      found[:, self.corrected] += moved
    if self.listed.size:
      found[:, self.listed] = self.exact[chosen]
    return found.reshape(len(basis), height, width, 3)

  def padded(self, num_planes: int, num_points: int) -> dict[str, np.ndarray]:
    """The fields as arrays of one size for all records, for batches.

    Args:
      num_planes: planes and columns of the basis; zeros fill up.
      num_points: places for corrections and for listed points; what is too
        much names the point H * W, which does not exist.

    Raises:
      UserError: the record has more of either.
    """
    needed = max(len(self.corrected), len(self.listed))
    if len(self.planes) > num_planes or needed > num_points:
      raise errors.UserError(
        f"a record has {len(self.planes)} planes and {needed} points beside "
        f"them; expected at most {num_planes} and {num_points}: allow more, or "
        f"decode its tracks"
      )
    height, width, _ = self.first.shape

    def fill(array: np.ndarray, axis: int, size: int, value: int = 0) -> Any:
      widths = [(0, 0)] * array.ndim
      widths[axis] = (0, size - array.shape[axis])
      return np.pad(array, widths, constant_values=value)

    missing = height * width
    return {
      "basis": fill(self.basis, 1, num_planes),
      "planes": fill(self.planes, 0, num_planes),
      "first": self.first,
      "corrected": fill(
        self.corrected.astype(np.int32), 0, num_points, missing
      ),
      "corrections": fill(self.corrections, 1, num_points),
      "listed": fill(self.listed.astype(np.int32), 0, num_points, missing),
      "exact": fill(self.exact, 1, num_points),
    }


def listed(tracks: Float32[np.ndarray, "T H W 3"]) -> TrackPlanes:
  """Tracks without planes: every point in the list of exact ones."""
  frames, height, width, _ = tracks.shape
  return TrackPlanes(
    basis=np.zeros((frames, 0), np.float32),
    planes=np.zeros((0, 3, height, width), np.float32),
    first=tracks[0],
    corrected=np.zeros(0, np.int64),
    corrections=np.zeros((frames, 0, 3), np.float32),
    listed=np.arange(height * width),
    exact=tracks.reshape(frames, -1, 3),
  )
