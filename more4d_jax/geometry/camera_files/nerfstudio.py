"""transforms.json of nerfstudio and instant-ngp, and of Blender's NeRF scenes.

`frames` hold `transform_matrix`, camera to world with OpenGL axes (x right,
y up, z backward). Intrinsics stand beside them or in each: `fl_x`, `fl_y`,
`cx`, `cy` in pixels of a picture `w` x `h`, or only `camera_angle_x`, the
horizontal angle of view in radians. Source: nerfstudio's data conventions.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from more4d_jax import errors, plausibility
from more4d_jax.geometry.camera_files import content, naming, path, plain

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_LENS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x")
# Fields that say nothing about the path.
_OTHERS = {
  "aabb_scale",
  "applied_scale",
  "applied_transform",
  "camera_angle_y",
  "colmap_im_id",
  "depth_file_path",
  "file_path",
  "mask_path",
  "orientation_override",
  "ply_file_path",
  "rotation",
  "scale",
  "offset",
  "sharpness",
}
_READ = {"frames", "transform_matrix", "camera_model", *_LENS, *_DISTORTION}
_PINHOLE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
# Of a picture whose height is not known: cut to the scene's aspect, one taller
# than any keeps its horizontal angle of view.
_TALL = 1e6


def matches(found: content.Content) -> bool:
  """Whether a file or folder is one of these."""
  if found.fields is None:
    return os.path.isfile(os.path.join(found.name, "transforms.json"))
  return not found.is_archive and "frames" in found.fields


def read(found: content.Content) -> path.CameraPath:
  """Reads a file; the path starts at its first camera.

  Raises:
    UserError: for frames without poses, poses that are not rigid, or a lens
      that is no pinhole.
  """
  if found.fields is None:
    found = content.read(os.path.join(found.name, "transforms.json"))
  name, fields = found.name, found.fields
  frames = fields.get("frames")
  if (
    not isinstance(frames, list)
    or not frames
    or not all(isinstance(f, dict) and "transform_matrix" in f for f in frames)
  ):
    raise errors.UserError(
      f"{name}: expected 'frames', a list of objects with transform_matrix, "
      "as nerfstudio writes them"
    )
  keys = set(fields).union(*frames)
  plausibility.say_unread(keys - _READ - _OTHERS, name)
  model = str(fields.get("camera_model", "PINHOLE")).upper()
  if model not in _PINHOLE:
    raise errors.UserError(
      f"{name}: expected a pinhole camera_model, found {model[:40]!r}: "
      "undistort the pictures first"
    )
  labels = [str(frame.get("file_path", "")) for frame in frames]
  if all(labels):
    frames = [frames[i] for i in naming.in_order(labels)]
  poses = plausibility.rigid_poses(
    [frame["transform_matrix"] for frame in frames],
    f"{name}: transform_matrix",
  )
  lenses = [_lens({**fields, **frame}, name) for frame in frames]
  known = [lens for lens in lenses if lens is not None]
  if known and (
    len(known) != len(frames) or len({size for _, size in known}) > 1
  ):
    raise errors.UserError(
      f"{name}: expected one size of picture (w, h) and intrinsics for every "
      "frame, or for none"
    )
  intrinsics = np.asarray([lens for lens, _ in known]) if known else None
  size = known[0][1] if known else None
  return path.make(
    plain.FLIP @ poses @ plain.FLIP, intrinsics, size, name
  ).from_first()


def _lens(
  fields: Mapping[str, Any], name: str
) -> tuple[tuple[float, float, float, float], plausibility.Size | None] | None:
  """(fx, fy, cx, cy) and the picture's size, if a frame says any."""
  found = {
    key: float(plausibility.numbers(fields[key], f"{name}: {key}").reshape(()))
    for key in (*_LENS, *_DISTORTION)
    if key in fields and np.ndim(fields[key]) == 0
  }
  if any(found.get(key) for key in _DISTORTION):
    plausibility.LOG.warning("%s: the lens's distortion is left out", name)
  width, height = found.get("w"), found.get("h")
  focal = found.get("fl_x")
  if focal is None:
    angle = found.get("camera_angle_x")
    if angle is None:
      return None
    if not 0 < angle < math.pi:
      raise errors.UserError(
        f"{name}: camera_angle_x must be an angle in radians below pi, found "
        f"{angle:g}"
      )
    width = width or 1.0
    focal = width / (2 * math.tan(angle / 2))
  if width is not None and height is None:
    height = width * _TALL
  centre = found.get("cx"), found.get("cy")
  if width is None and None in centre:
    raise errors.UserError(
      f"{name}: fl_x is given without w and h, the picture it belongs to"
    )
  x, y = (
    half / 2 if given is None else given
    for given, half in zip(centre, (width or 0.0, height or 0.0))
  )
  size = None
  if width is not None:
    size = plausibility.picture_size(height, width, name)
  lens = focal, found.get("fl_y", focal), x, y
  if min(lens[:2]) <= 0:
    raise errors.UserError(
      f"{name}: expected focal lengths above 0, found {focal:g}"
    )
  return lens, size


def write(name: str | os.PathLike, found: path.CameraPath) -> None:
  """Writes a file that nerfstudio reads, intrinsics in each frame."""
  lens, (height, width) = path.lens_of(found, "nerfstudio")
  poses = plain.FLIP @ found.world_from_camera.astype(np.float64) @ plain.FLIP
  frames = [
    {
      "file_path": f"images/{naming.frame(number)}",
      "transform_matrix": pose.tolist(),
      **dict(zip(("fl_x", "fl_y", "cx", "cy"), intrinsics.tolist())),
    }
    for number, (pose, intrinsics) in enumerate(zip(poses, lens))
  ]
  fields = {"camera_model": "PINHOLE", "w": width, "h": height}
  text = json.dumps({**fields, "frames": frames}, indent=1)
  content.write(name, text.encode())
