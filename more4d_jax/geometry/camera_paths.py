"""Named camera paths (docs/method/rendering.md#camera-paths) and camera files.

A path is `world_from_camera` [T 4 4] float32, one pose per frame, OpenCV axes
(x right, y down, z forward); the world is the first camera's frame. Paths are
host data, hence NumPy. Let n be the number of frames, i the frame,
phi = i / n, c the scene's centre and d = |c_z|.
"""

import math
import os

import numpy as np
from jaxtyping import Bool, Float

from more4d_jax import errors
from more4d_jax.geometry import camera_files

CameraPath = camera_files.CameraPath
load_path = camera_files.load_path


def scene_centre(
  first_points: Float[np.ndarray, "H W 3"],
  valid: Bool[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, "3"]:
  """Mean of the first-frame points that are finite and before the camera.

  Raises:
    ValueError: no such point.
  """
  usable = np.isfinite(first_points).all(-1) & (first_points[..., 2] > 0)
  if valid is not None:
    usable &= valid
  if not usable.any():
    raise ValueError(
      "a scene needs at least one finite point in front of the first camera; "
      "found none"
    )
  centre = first_points[usable].astype(np.float64).mean(axis=0)
  return centre.astype(np.float32)


def named_path(
  name: str,
  num_frames: int,
  centre: Float[np.ndarray, "3"],
  *,
  reach: float | None = None,
  compat: bool = False,
) -> Float[np.ndarray, "T 4 4"]:
  """Poses of a named path.

  Args:
    name: one of `NAMES`.
    num_frames: T, at least 1.
    centre: c in metres, in the first camera's frame; see `scene_centre`.
    reach: size of `forward_backward` (0.4 d by default) or
      `circle_rotating` (0.05 d) in metres; the other paths have none.
    compat: the original's `surrounding`, which starts at (2 c_x, 0, 0) and
      looks at c; its other paths are as here.

  Raises:
    UserError: unknown name; the message lists the known ones.
    ValueError: a path without a reach was given one.
  """
  if name not in NAMES:
    raise _unknown(name)
  if num_frames < 1:
    raise ValueError(f"a camera path needs at least 1 frame, got {num_frames}")
  options = {}
  if reach is not None:
    if name not in ("forward_backward", "circle_rotating"):
      raise ValueError(f"the path {name!r} has no reach: leave it out")
    options["reach"] = reach
  centre = np.asarray(centre, np.float64)
  path = _PATHS[name]
  if compat and name == "surrounding":
    path = _original_surrounding
  poses = [path(i, num_frames, centre, **options) for i in range(num_frames)]
  return np.stack(poses).astype(np.float32)


def exists(name_or_file: str) -> bool:
  """Whether it is a known name or a file, whatever that holds."""
  return name_or_file in NAMES or os.path.exists(name_or_file)


def check(name_or_file: str) -> None:
  """Raises UserError unless it is a known name or a readable camera file."""
  if name_or_file in NAMES:
    return
  if not _looks_like_file(name_or_file):
    raise _unknown(name_or_file)
  load_path(name_or_file)


def find(
  name_or_file: str, num_frames: int, centre: Float[np.ndarray, "3"]
) -> CameraPath:
  """A named path, or the one in a file; a single pose serves every frame.

  Raises:
    UserError: unknown name, unreadable file, or a file with another number
      of poses than the scene has frames.
  """
  if not _looks_like_file(name_or_file) or name_or_file in NAMES:
    return CameraPath(named_path(name_or_file, num_frames, centre), None)
  return load_path(name_or_file).for_frames(num_frames, name_or_file)


def resolve(
  name_or_file: str, num_frames: int, centre: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "T 4 4"]:
  """The poses of `find`."""
  return find(name_or_file, num_frames, centre).world_from_camera


def label(name_or_file: str) -> str:
  """Short name of a path, fit for a file name: a file's stem."""
  if name_or_file in NAMES:
    return name_or_file
  return os.path.splitext(os.path.basename(name_or_file))[0]


def _looks_like_file(text: str) -> bool:
  return text.lower().endswith((".json", ".npz")) or os.path.exists(text)


def _unknown(name: str) -> errors.UserError:
  return errors.UserError(
    f"unknown camera path {name!r}: choose one of {', '.join(NAMES)}, or give "
    "a .json or .npz camera file"
  )


def _pose(rotation: np.ndarray, position: tuple | np.ndarray) -> np.ndarray:
  pose = np.eye(4)
  pose[:3, :3], pose[:3, 3] = rotation, position
  return pose


def _roll(angle: float) -> np.ndarray:
  c, s = math.cos(angle), math.sin(angle)
  return np.asarray([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
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
  return _pose(_look_at(position, c), position)


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
  turn = _look_at(position, c) @ _look_at(np.zeros(3), c).T
  return _pose(turn, position)


def _original_surrounding(i, n, c):
  """Sweeps 45 degrees about c, from (2 c_x, 0, 0).

  Source: docs/method/rendering.md#camera-paths.
  """
  angle = -math.pi / 4 * i / n - math.atan2(c[2], c[0])
  radius = math.hypot(c[0], c[2])
  offset = (radius * math.cos(angle), 0.0, radius * math.sin(angle))
  position = np.asarray([c[0], 0.0, c[2]]) + offset
  return _pose(_look_at(position, c), position)


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
  rotation = _look_at(position, c) @ _look_at(np.zeros(3), c).T
  return _pose(np.eye(3) if i == 0 else rotation, position)


def _swing(i, n, c):
  return 0.1 * abs(c[2]) * math.sin(2 * math.pi * i / n)


def _x_moving(i, n, c):
  return _pose(np.eye(3), (_swing(i, n, c), 0.0, 0.0))


def _y_moving(i, n, c):
  return _pose(np.eye(3), (0.0, _swing(i, n, c), 0.0))


def _mix1(i, n, c):
  depth = _there_and_back(i, n, 0.2 * abs(c[2]))
  return _pose(np.eye(3), (0.5 * _swing(i, n, c), 0.0, depth))


def _mix2(i, n, c):
  angle = math.radians(10.0) * math.sin(math.pi * i / n)
  return _circular(i, n, c) @ _pose(_roll(angle), np.zeros(3))


_PATHS = {
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
}

NAMES = tuple(_PATHS)
