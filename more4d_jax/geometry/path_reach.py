"""How far a camera may move before it sees too little of a scene."""

import numpy as np
from jaxtyping import Float

from more4d_jax.geometry import camera_paths

# A film whose frames are covered less than this shows more holes than scene.
ENOUGH = 0.7
_ROWS = 48  # Of the grid that coverage is counted on.
_POINTS = 4  # Points a side of a cell, fewer of small scenes: more than one, so
# that a cell stays covered up close.
_FRAMES = 6  # Whose coverage is predicted, spread over the path.
_HALVINGS = 7


def predicted_coverage(
  tracks: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  path: camera_paths.CameraPath,
) -> Float[np.ndarray, "T"]:
  """Share of each frame's cells that a point falls into.

  A count on a coarse grid, without rendering: a cell is several pixels wide, so
  that cracks between points do not count and what lies beside or behind the
  scene does.

  Args:
    tracks: metres, in the first camera's frame.
    intrinsics: (fx, fy, cx, cy) in pixels of the tracks' grid.
    path: one pose per frame.
  """
  _, height, width, _ = tracks.shape
  rows = max(1, min(_ROWS, height // 2))
  columns = max(1, round(rows * width / height))
  step = max(1, height // (_POINTS * rows))
  lens = path.intrinsics
  if lens is None:
    lens = np.broadcast_to(intrinsics, (len(tracks), 4))
  shares = []
  for points, pose, (fx, fy, cx, cy) in zip(
    tracks, path.world_from_camera, lens
  ):
    some = points[::step, ::step].reshape(-1, 3)
    seen = (some - pose[:3, 3]) @ pose[:3, :3]
    seen = seen[np.isfinite(seen).all(-1) & (seen[:, 2] > 1e-6)]
    column = (fx * seen[:, 0] / seen[:, 2] + cx) * columns / width
    row = (fy * seen[:, 1] / seen[:, 2] + cy) * rows / height
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    cell = row[inside].astype(int) * columns + column[inside].astype(int)
    shares.append(len(np.unique(cell)) / (rows * columns))
  return np.asarray(shares)


def largest_reach(
  name: str,
  tracks: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  enough: float = ENOUGH,
) -> float:
  """The largest part of a named path that keeps the picture covered.

  Args:
    name: of the path.
    tracks: metres, in the first camera's frame.
    intrinsics: (fx, fy, cx, cy) in pixels of the tracks' grid.
    enough: predicted coverage that every frame keeps. Where the scene covers
      less from its own camera, nine tenths of that.

  Returns: 1 for a path that may stay as it is, else below.
  """
  chosen = np.linspace(0, len(tracks) - 1, min(_FRAMES, len(tracks)))
  chosen = np.unique(chosen.astype(int))
  centre = camera_paths.scene_centre(tracks[0].astype(np.float32))

  def coverage(reach: float) -> float:
    path = camera_paths.find(name, len(tracks), centre, intrinsics, reach=reach)
    lens = None if path.intrinsics is None else path.intrinsics[chosen]
    part = camera_paths.CameraPath(path.world_from_camera[chosen], lens)
    return predicted_coverage(tracks[chosen], intrinsics, part).min()

  floor = min(enough, 0.9 * coverage(0.0))
  if coverage(1.0) >= floor:
    return 1.0
  low, high = 0.0, 1.0
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    low, high = (middle, high) if coverage(middle) >= floor else (low, middle)
  return low
