"""Checks of generated scenes that need no ground truth."""

import numpy as np
from jaxtyping import Float

from more4d_jax.evaluation import track_metrics


def scene_checks(
  tracks: Float[np.ndarray, "T H W 3"], intrinsics: Float[np.ndarray, "4"]
) -> dict[str, float | bool]:
  """Whether a scene is finite and on its pixel grid, and how it moves.

  Args:
    tracks: metres, in the first camera's frame.
    intrinsics: (fx, fy, cx, cy) in pixels of the grid.

  Returns: `finite`; `reprojection_error`, the largest distance in pixels of a
    frame-0 point from its pixel's centre; `moving_share`, the share of points
    that ever move by more than 1 % of their depth; `mean_jerk`, see
    `track_metrics.mean_jerk`.
  """
  finite = bool(np.isfinite(tracks).all())
  return {
    "finite": finite,
    "reprojection_error": reprojection_error(tracks[0], intrinsics),
    "moving_share": track_metrics.moving_share(tracks),
    "mean_jerk": track_metrics.mean_jerk(tracks),
  }


def reprojection_error(
  first_points: Float[np.ndarray, "H W 3"],
  intrinsics: Float[np.ndarray, "4"],
) -> float:
  """Largest distance of a projected point from its pixel's centre, pixels."""
  height, width, _ = first_points.shape
  fx, fy, cx, cy = intrinsics.astype(np.float64)
  x, y, z = np.moveaxis(first_points.astype(np.float64), -1, 0)
  across = fx * x / z + cx - (np.arange(width) + 0.5)
  down = fy * y / z + cy - (np.arange(height) + 0.5)[:, None]
  return float(np.hypot(across, down).max())
