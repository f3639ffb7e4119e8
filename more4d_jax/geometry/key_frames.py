"""Smooth camera paths through a few poses."""

import numpy as np
from jaxtyping import Float, Real
from scipy import interpolate
from scipy.spatial import transform


def interpolated(
  poses: Float[np.ndarray, "K 4 4"],
  times: Real[np.ndarray, "K"],
  wanted: Real[np.ndarray, "T"],
) -> Float[np.ndarray, "T 4 4"]:
  """Poses at other times, exact at the given ones.

  Rotations follow a spline of continuous angular acceleration, positions a
  cubic spline; before the first and after the last time the path stands still.

  Args:
    poses: world_from_camera, rigid; one alone holds at all times.
    times: strictly increasing.
    wanted: times of the result, in the same unit.

  Raises:
    ValueError: unless the times increase and are as many as the poses.
  """
  if len(times) != len(poses) or (np.diff(times) <= 0).any():
    raise ValueError(
      f"expected {len(poses)} increasing times, found {np.asarray(times)}"
    )
  if len(poses) == 1:
    return np.repeat(poses, len(wanted), axis=0).astype(np.float32)
  when = np.clip(wanted, times[0], times[-1])
  rotations = transform.Rotation.from_matrix(poses[:, :3, :3])
  found = np.tile(np.eye(4, dtype=np.float32), (len(wanted), 1, 1))
  turned = transform.RotationSpline(times, rotations)(when)
  found[:, :3, :3] = turned.as_matrix()
  found[:, :3, 3] = along(poses[:, :3, 3], times, when)
  return found


def along(
  values: Float[np.ndarray, "K D"],
  times: Real[np.ndarray, "K"],
  wanted: Real[np.ndarray, "T"],
) -> Float[np.ndarray, "T D"]:
  """A cubic spline through values; two of them are joined by a line."""
  kind = "natural" if len(times) < 4 else "not-a-knot"
  return interpolate.CubicSpline(times, values, bc_type=kind)(wanted)
