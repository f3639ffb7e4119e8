"""Where the points of a record are in the pictures of its frames."""

import numpy as np
from jaxtyping import Float

from more4d_jax.data import records


def in_cameras(
  record: records.Record, points: Float[np.ndarray, "T *P 3"]
) -> Float[np.ndarray, "T *P 3"]:
  """Positions in each frame's own camera, metres.

  Args:
    record: its cameras, and the axes that its tracks are in.
    points: positions as in its tracks.
  """
  points = points.astype(np.float64)
  if record.tracks_frame == "each_camera":
    return points
  pose = record.world_from_camera.astype(np.float64)
  shape = (len(pose), *[1] * (points.ndim - 2))
  away = points - pose[:, :3, 3].reshape(*shape, 3)
  turn = pose[:, :3, :3].swapaxes(1, 2).reshape(*shape, 3, 3)
  return (turn @ away[..., None])[..., 0]


def pixels(
  record: records.Record, points: Float[np.ndarray, "T *P 3"]
) -> Float[np.ndarray, "T *P 2"]:
  """Image positions (x, y) of points in each camera; NaN behind it."""
  fx, fy, cx, cy = record.intrinsics.astype(np.float64)
  z = np.where(points[..., 2] > 1e-6, points[..., 2], np.nan)
  return np.stack(
    [points[..., 0] / z * fx + cx, points[..., 1] / z * fy + cy], axis=-1
  )
