"""Camera paths by name or from a file, for a scene of a number of frames.

A path is `world_from_camera` [T 4 4] float32, one pose per frame, OpenCV axes
(x right, y down, z forward); the world is the first camera's frame. Paths are
host data, hence NumPy. `path_shapes` holds the formulas of the names.
"""

import os

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import transform

from more4d_jax import errors
from more4d_jax.geometry import path_shapes
from more4d_jax.geometry.camera_files import formats
from more4d_jax.geometry.camera_files import path as path_lib

CameraPath = path_lib.CameraPath
load_path = formats.load
NAMES = tuple(path_shapes.SHAPES)
DEFAULTS = ("static", "orbit_left_90", "forward", "circular", "x_moving")
"""Paths that a scene is filmed along where none is named."""
_SUFFIXES = (".json", ".npz", ".txt", ".bin")


def scene_centre(
  first_points: Float[np.ndarray, "H W 3"],
  valid: Bool[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, "3"]:
  """Median of the first-frame points that are finite and before the camera.

  The median of each coordinate: a sky, a few points a kilometre away, does
  not move it. Differs from the original, which takes the mean.

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
  return np.median(first_points[usable], axis=0).astype(np.float32)


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
  path = path_shapes.SHAPES[name]
  if compat and name == "surrounding":
    path = path_shapes.original_surrounding
  poses = [path(i, num_frames, centre, **options) for i in range(num_frames)]
  return np.stack(poses).astype(np.float32)


def exists(name_or_file: str) -> bool:
  """Whether it is a known name or a file, whatever that holds."""
  return name_or_file in NAMES or os.path.exists(name_or_file)


def check(
  name_or_file: str, num_frames: int | None = None, *, resample: bool = False
) -> None:
  """Makes sure that it is a known name or a readable camera file.

  Args:
    name_or_file: what users write.
    num_frames: that a file must have poses for, where that is known.
    resample: a file's poses are brought to that number.

  Raises:
    UserError: unless it is.
  """
  if name_or_file in NAMES:
    return
  if not _looks_like_file(name_or_file):
    raise _unknown(name_or_file)
  path = load_path(name_or_file)
  if num_frames is not None:
    path.for_frames(num_frames, name_or_file, resample=resample)


def find(
  name_or_file: str,
  num_frames: int,
  centre: Float[np.ndarray, "3"],
  intrinsics: Float[np.ndarray, "4"] | None = None,
  *,
  reach: float = 1.0,
  resample: bool = False,
) -> CameraPath:
  """A named path, or the one in a file; a single pose serves every frame.

  Args:
    name_or_file: what users write.
    num_frames: T.
    centre: of the scene; see `scene_centre`.
    intrinsics: of the scene, in pixels; needed by `path_shapes.DOLLY` only.
    reach: scales a named path's motion, see `scaled`; files stay as they are.
    resample: brings a file's poses to the number of frames.

  Raises:
    UserError: unknown name, unreadable file, or a file with another number
      of poses than the scene has frames.
  """
  if _looks_like_file(name_or_file) and name_or_file not in NAMES:
    path = load_path(name_or_file)
    return path.for_frames(num_frames, name_or_file, resample=resample)
  poses = named_path(name_or_file, num_frames, centre)
  if reach != 1.0:
    poses = scaled(poses, reach)
  if name_or_file != path_shapes.DOLLY:
    return CameraPath(poses, None)
  if intrinsics is None:
    raise ValueError(f"{name_or_file} changes the lens: intrinsics are needed")
  lens = np.tile(np.asarray(intrinsics, np.float32), (num_frames, 1))
  lens[:, :2] *= path_shapes.dolly_zoom(poses, centre)[:, None]
  return CameraPath(poses, lens)


def scaled(
  poses: Float[np.ndarray, "T 4 4"], reach: float
) -> Float[np.ndarray, "T 4 4"]:
  """A path whose every pose is a share of the way from the origin.

  Each pose is a screw motion from the identity, of which this keeps the part
  `reach`: a translation is shortened, an orbit keeps its axis and centre and
  turns less far.

  Args:
    poses: rigid, turned by less than 180 degrees.
    reach: 0 stays at the origin, 1 keeps the path.
  """
  screws = transform.RigidTransform.from_matrix(poses).as_exp_coords()
  part = transform.RigidTransform.from_exp_coords(reach * screws)
  return part.as_matrix().astype(np.float32)


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
  return text.lower().endswith(_SUFFIXES) or os.path.exists(text)


def _unknown(name: str) -> errors.UserError:
  return errors.UserError(
    f"unknown camera path {name!r}: choose one of {', '.join(NAMES)}, or give "
    "a camera file or folder (.json, .npz, .txt, or a COLMAP model)"
  )
