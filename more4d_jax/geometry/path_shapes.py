"""The shapes of named camera paths: one pose for each frame.

Source: docs/method/rendering.md#camera-paths, where "ours" stands for paths
that the original has not. A path's function takes (i, n, c): the frame, the
number of frames and the scene's centre in metres, in the first camera's frame
(x right, y down, z forward). It returns `world_from_camera` [4 4] in float64;
the world is the first camera's frame. Let phi = i / n and d = |c_z|.
"""

import math

import numpy as np


def _pose(rotation: np.ndarray, position: tuple | np.ndarray) -> np.ndarray:
  pose = np.eye(4)
  pose[:3, :3], pose[:3, 3] = rotation, position
  return pose


def _roll(angle: float) -> np.ndarray:
  c, s = math.cos(angle), math.sin(angle)
  return np.asarray([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Rotation with z towards the target and x level.

  Source: docs/method/rendering.md#camera-paths.
  """
  forward = target - position
  forward = forward / np.linalg.norm(forward)
  right = np.cross(forward, (0.0, 1.0, 0.0))
  right = right / np.linalg.norm(right)
  return np.stack([-right, np.cross(right, forward), forward], axis=-1)


def _static(i, n, c):
  del i, n, c
  return np.eye(4)


def _orbit_left_90(i, n, c):
  """Ours: a quarter circle about the vertical axis through c, to the left.

  The last frame has turned by exactly 90 degrees.
  """
  angle = math.pi / 2 * i / max(n - 1, 1)
  cos, sin = math.cos(angle), math.sin(angle)
  turn = np.asarray([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
  return _pose(turn, c - turn @ c)


def _forward(i, n, c):
  """Ours: straight ahead, at even speed, by 0.3 d in the last frame."""
  return _pose(np.eye(3), (0.0, 0.0, 0.3 * abs(c[2]) * i / max(n - 1, 1)))


def _there_and_back(i, n, reach):
  """The z of the original's `forward_backward`, peaking at reach / 4."""
  phi = i / n
  if i < n // 4:
    return reach * phi
  if i < 3 * n // 4:
    return reach * (0.5 - phi)
  return reach * (phi - 1)


def _forward_backward(i, n, c, reach=None):
  reach = 0.4 * abs(c[2]) if reach is None else reach
  return _pose(np.eye(3), (0.0, 0.0, _there_and_back(i, n, reach)))


def _circle_rotating(i, n, c, reach=None):
  """Starts at (reach, 0, 0), as the original does: not the identity."""
  radius = 0.05 * abs(c[2]) if reach is None else reach
  phi = i / n
  turn = 2 * math.pi * phi
  position = radius * np.asarray([math.cos(turn), math.sin(turn), 3 * phi])
  return _pose(look_at(position, c), position)


def _sweep(i, n, c, sign):
  """45 degrees about c at the height of the first camera.

  Differs from the original, which starts elsewhere unless c_x = 0.
  """
  radius = math.hypot(c[0], c[2])
  angle = math.atan2(-c[2], -c[0]) + sign * math.pi / 4 * i / n
  offset = (radius * math.cos(angle), 0.0, radius * math.sin(angle))
  position = np.asarray([c[0], 0.0, c[2]]) + offset
  if i == 0:
    return np.eye(4)
  turn = look_at(position, c) @ look_at(np.zeros(3), c).T
  return _pose(turn, position)


def original_surrounding(i, n, c):
  """Sweeps 45 degrees about c, from (2 c_x, 0, 0).

  Source: docs/method/rendering.md#camera-paths.
  """
  angle = -math.pi / 4 * i / n - math.atan2(c[2], c[0])
  radius = math.hypot(c[0], c[2])
  offset = (radius * math.cos(angle), 0.0, radius * math.sin(angle))
  position = np.asarray([c[0], 0.0, c[2]]) + offset
  return _pose(look_at(position, c), position)


def _surrounding(i, n, c):
  return _sweep(i, n, c, -1.0)


def _anti_surrounding(i, n, c):
  return _sweep(i, n, c, 1.0)


def _camera_rotate(i, n, c):
  del c
  return _pose(
    _roll(math.radians(30.0) * math.sin(math.pi * i / n)), np.zeros(3)
  )


def _circular(i, n, c):
  """Ours: a closed circle in the image plane that starts at the origin."""
  radius, turn = 0.05 * abs(c[2]), 2 * math.pi * i / n
  position = radius * np.asarray([math.sin(turn), 1.0 - math.cos(turn), 0.0])
  rotation = look_at(position, c) @ look_at(np.zeros(3), c).T
  return _pose(np.eye(3) if i == 0 else rotation, position)


def _swing(i, n, c):
  return 0.1 * abs(c[2]) * math.sin(2 * math.pi * i / n)


def _x_moving(i, n, c):
  return _pose(np.eye(3), (_swing(i, n, c), 0.0, 0.0))


def _y_moving(i, n, c):
  return _pose(np.eye(3), (0.0, _swing(i, n, c), 0.0))


def _sideways(i, n, c, direction):
  """Ours: 0.2 d to one side at even speed, always facing the centre."""
  step = 0.2 * abs(c[2]) * i / max(n - 1, 1)
  position = step * np.asarray(direction)
  if i == 0:
    return np.eye(4)
  return _pose(look_at(position, c) @ look_at(np.zeros(3), c).T, position)


def _left(i, n, c):
  return _sideways(i, n, c, (-1.0, 0.0, 0.0))


def _right(i, n, c):
  return _sideways(i, n, c, (1.0, 0.0, 0.0))


def _up(i, n, c):
  return _sideways(i, n, c, (0.0, -1.0, 0.0))


def _down(i, n, c):
  return _sideways(i, n, c, (0.0, 1.0, 0.0))


def _mix1(i, n, c):
  depth = _there_and_back(i, n, 0.2 * abs(c[2]))
  return _pose(np.eye(3), (0.5 * _swing(i, n, c), 0.0, depth))


def _mix2(i, n, c):
  angle = math.radians(10.0) * math.sin(math.pi * i / n)
  return _circular(i, n, c) @ _pose(_roll(angle), np.zeros(3))


# The lens of these changes with the pose, see `dolly_zoom`.
DOLLY = "dolly_zoom"

SHAPES = {
  "static": _static,
  "orbit_left_90": _orbit_left_90,
  "forward": _forward,
  "circular": _circular,
  "x_moving": _x_moving,
  "y_moving": _y_moving,
  "forward_backward": _forward_backward,
  "surrounding": _surrounding,
  "anti-surrounding": _anti_surrounding,
  "circle_rotating": _circle_rotating,
  "camera_rotate": _camera_rotate,
  "mix1": _mix1,
  "mix2": _mix2,
  "left": _left,
  "right": _right,
  "up": _up,
  "down": _down,
  DOLLY: _forward,
}


def dolly_zoom(poses: np.ndarray, centre: np.ndarray) -> np.ndarray:
  """Factors of the focal length that keep the centre's plane as large.

  Args:
    poses: world_from_camera [T 4 4], moving along z.
    centre: of the scene, in metres.

  Returns: [T], 1 where the camera stands at the origin.
  """
  return (centre[2] - poses[:, 2, 3]) / centre[2]
