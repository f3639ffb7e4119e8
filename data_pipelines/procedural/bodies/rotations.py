"""Rotation matrices about axes; x right, y down, z forward."""

import numpy as np
from jaxtyping import Float


def about_axis(
  axis: Float[np.ndarray, "3"], angle: Float[np.ndarray, "*T"]
) -> Float[np.ndarray, "*T 3 3"]:
  """Returns rotations about a unit axis (Rodrigues' formula).

  Args:
    axis: unit vector.
    angle: radians; any shape.
  """
  x, y, z = axis
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], np.float64)
  angle = np.asarray(angle, np.float64)[..., None, None]
  return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def about_x(angle) -> Float[np.ndarray, "*T 3 3"]:
  """Rotates y towards z by an angle in radians (a positive one looks up)."""
  return about_axis(np.array([1.0, 0.0, 0.0]), angle)


def about_y(angle) -> Float[np.ndarray, "*T 3 3"]:
  """Rotates z towards x by an angle in radians (a positive one turns right)."""
  return about_axis(np.array([0.0, 1.0, 0.0]), angle)


def about_z(angle) -> Float[np.ndarray, "*T 3 3"]:
  """Rotates x towards y by an angle in radians (clockwise in the picture)."""
  return about_axis(np.array([0.0, 0.0, 1.0]), angle)


def along_segment(
  start: Float[np.ndarray, "T 3"],
  end: Float[np.ndarray, "T 3"],
  lateral: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "T 3 3"]:
  """Returns frames whose y axis runs from start to end.

  Args:
    start, end: the two ends in each frame, in metres.
    lateral: a unit vector perpendicular to the segment in every frame; it
      becomes the z axis, so that the frames do not spin about the segment.
  """
  y = end - start
  y = y / np.linalg.norm(y, axis=-1, keepdims=True)
  z = np.broadcast_to(lateral, y.shape)
  return np.stack([np.cross(y, z), y, z], axis=-1)
