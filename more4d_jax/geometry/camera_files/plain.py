"""Our camera files: JSON or NPZ.

Keys: `world_from_camera`, T matrices of 4 x 4 or 3 x 4; `convention`, "opencv"
(x right, y down, z forward) or "opengl" (x right, y up, z backward: both the
camera's axes and the world's); optionally `intrinsics`, T or one
(fx, fy, cx, cy) or 3 x 3 matrix, and `width` and `height` of the picture whose
pixels they are: they are scaled to the scene that is filmed. The world is the
first camera of the scene.

`key_frames`, T increasing numbers, says which frames the poses are for: the
path goes smoothly through them and has a pose for every frame from 0 to the
last one.
"""

import io
import json
import os
from typing import Any

import numpy as np
from jaxtyping import Int

from more4d_jax import errors, plausibility
from more4d_jax.geometry.camera_files import content, path

_MAX_FRAMES = 100_000
# opengl and opencv differ by a flip of y and z; it is its own inverse.
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
_KEYS = (
  "world_from_camera",
  "convention",
  "key_frames",
  "intrinsics",
  "width",
  "height",
)


def matches(found: content.Content) -> bool:
  """Whether a file has fields; another format must have been tried before."""
  return found.fields is not None


def read(found: content.Content) -> path.CameraPath:
  """Reads a file of ours.

  Raises:
    UserError: missing fields, wrong shapes, non-finite numbers, a pose that is
      not rigid, an unknown convention.
  """
  name, fields = found.name, found.fields
  for key in ("world_from_camera", "convention"):
    if key not in fields:
      raise errors.UserError(
        f"{name}: a camera file needs the field {key!r}; it has "
        f"{', '.join(sorted(fields)) or 'none'}; add world_from_camera "
        "(T x 4 x 4) and convention ('opencv' or 'opengl')"
      )
  convention = str(fields["convention"]).strip().lower()
  if convention not in ("opencv", "opengl"):
    raise errors.UserError(
      f"{name}: convention must be 'opencv' or 'opengl', found "
      f"{str(fields['convention'])[:40]!r}"
    )
  plausibility.say_unread(set(fields) - set(_KEYS), name)
  poses = plausibility.rigid_poses(
    fields["world_from_camera"], f"{name}: world_from_camera"
  )
  if convention == "opengl":
    poses = FLIP @ poses @ FLIP
  intrinsics = fields.get("intrinsics")
  if intrinsics is not None:
    intrinsics = plausibility.pinhole(intrinsics, f"{name}: intrinsics")
  made = path.make(poses, intrinsics, _size(fields, name), name)
  if "key_frames" not in fields:
    return made
  times = _key_frames(fields["key_frames"], len(poses), name)
  return made.interpolated(times, np.arange(times[-1] + 1))


def _key_frames(value: Any, count: int, name: str) -> Int[np.ndarray, "T"]:
  """Numbers of key frames.

  Raises:
    UserError: unless they are increasing, and one for each of several poses.
  """
  times = np.asarray(value)
  whole = times.ndim == 1 and np.issubdtype(times.dtype, np.integer)
  right = whole and len(times) == count > 1 and times[0] >= 0
  if not right or (np.diff(times) <= 0).any() or times[-1] >= _MAX_FRAMES:
    raise errors.UserError(
      f"{name}: key_frames must be increasing whole numbers from 0 to "
      f"{_MAX_FRAMES - 1}, one for each of the {count} poses and at least two, "
      f"found {str(value)[:60]}"
    )
  return times


def _size(fields: dict, name: str) -> plausibility.Size | None:
  if "width" not in fields and "height" not in fields:
    return None
  return plausibility.picture_size(
    fields.get("height"), fields.get("width"), name
  )


def _fields(found: path.CameraPath) -> dict:
  fields = {
    "convention": "opencv",
    "world_from_camera": found.world_from_camera.tolist(),
  }
  if found.intrinsics is not None:
    fields["intrinsics"] = found.intrinsics.tolist()
    if found.size is not None:
      fields["height"], fields["width"] = found.size
  return fields


def write(name: str | os.PathLike, found: path.CameraPath) -> None:
  """Writes a file that `read` reads, NPZ if it is called so, else JSON."""
  if os.fspath(name).lower().endswith(".npz"):
    stream = io.BytesIO()
    np.savez(stream, **_fields(found))
    content.write(name, stream.getvalue())
  else:
    content.write(name, json.dumps(_fields(found), indent=1).encode())
