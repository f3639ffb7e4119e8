"""2D tracks and depth maps to points in each frame's camera."""

import numpy as np
from jaxtyping import Bool, Float

from data_pipelines.importers import geometry


def lift(
  positions: Float[np.ndarray, "T N 2"],
  visible: Bool[np.ndarray, "T N"],
  maps: Float[np.ndarray, "T H W"],
  intrinsics: Float[np.ndarray, "4"] | Float[np.ndarray, "T 4"],
  *,
  everywhere: bool,
) -> Float[np.ndarray, "T N 3"]:
  """Points at the depth of the pixels that they fall into.

  Args:
    positions: pixels of the maps, centres at + 0.5.
    visible: whether the map shows the point.
    maps: depth along z, 0 or NaN where unknown.
    intrinsics: fx, fy, cx, cy in pixels of the maps.
    everywhere: whether hidden points get a depth, interpolated in time between
      the frames that show them.

  Returns: NaN where a point's depth is unknown.
  """
  depth = _sampled(maps, positions, visible)
  if everywhere:
    depth = _bridged(depth)
  return geometry.unproject(positions, depth, intrinsics)


def _sampled(
  maps: np.ndarray, positions: np.ndarray, visible: np.ndarray
) -> np.ndarray:
  """Depth [T N] of the pixel each point falls into; NaN where unknown."""
  height, width = maps.shape[1:]
  finite = np.isfinite(positions).all(-1)
  cell = np.floor(np.where(finite[..., None], positions, -1)).astype(int)
  inside = ((cell >= 0) & (cell < [width, height])).all(-1)
  cell = np.where((inside & visible)[..., None], cell, 0)
  frames = np.arange(len(maps))[:, None]
  depth = maps[frames, cell[..., 1], cell[..., 0]]
  return np.where(inside & visible & (depth > 0), depth, np.nan)


def _bridged(depth: np.ndarray) -> np.ndarray:
  """Fills the gaps of each point's depth linearly in time."""
  times = np.arange(len(depth))
  filled = depth.copy()
  for point in np.flatnonzero(np.isnan(depth).any(0)):
    known = np.isfinite(depth[:, point])
    if known.any():
      filled[:, point] = np.interp(times, times[known], depth[known, point])
  return filled
