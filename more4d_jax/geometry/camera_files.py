"""Camera files: one pose per frame as JSON or NPZ.

Keys: `world_from_camera`, T 4x4 matrices; `convention`, "opencv" (x right,
y down, z forward) or "opengl" (x right, y up, z backward: both the camera's
axes and the world's); optionally `intrinsics`, T or one (fx, fy, cx, cy) in
pixels of the scene's own image. The world is the first camera of the scene.
"""

import dataclasses
import json
import os
import zipfile
import zlib

import numpy as np
from jaxtyping import Float

from more4d_jax import errors

# opengl and opencv differ by a flip of y and z; it is its own inverse.
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class CameraPath:
  """Poses, OpenCV axes, and the intrinsics that a file may carry.

  Attributes:
    world_from_camera: one pose per frame.
    intrinsics: (fx, fy, cx, cy) per frame in pixels of the scene's image, or
      None for the scene's own.
  """

  world_from_camera: Float[np.ndarray, "T 4 4"]
  intrinsics: Float[np.ndarray, "T 4"] | None

  def for_frames(self, num_frames: int, name: str) -> "CameraPath":
    """The path for a scene of `num_frames`; a single pose serves all frames."""
    found = len(self.world_from_camera)
    if found == num_frames:
      return self
    if found != 1:
      raise errors.UserError(
        f"{name}: expected {num_frames} camera poses, one per frame of the "
        f"scene, or a single one; found {found}"
      )
    return CameraPath(
      np.repeat(self.world_from_camera, num_frames, axis=0),
      None
      if self.intrinsics is None
      else np.repeat(self.intrinsics, num_frames, axis=0),
    )


def load_path(file: str | os.PathLike) -> CameraPath:
  """Reads a camera file.

  Raises:
    UserError: missing, damaged or foreign file, wrong shapes, non-finite
      numbers, a pose that is not rigid, an unknown convention.
  """
  name = os.fspath(file)
  if not os.path.isfile(name):
    raise errors.UserError(
      f"{name}: no such camera file; give a path name or an existing file"
    )
  fields = (
    _read_npz(name) if name.lower().endswith(".npz") else _read_json(name)
  )
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
      f"{name}: convention must be 'opencv' or 'opengl', found {convention!r}"
    )
  poses = _numbers(
    fields["world_from_camera"], (4, 4), "world_from_camera", name
  )
  _check_rigid(poses, name)
  if convention == "opengl":
    poses = _FLIP @ poses @ _FLIP
  intrinsics = fields.get("intrinsics")
  if intrinsics is not None:
    intrinsics = _intrinsics(intrinsics, len(poses), name)
  return CameraPath(poses.astype(np.float32), intrinsics)


def save_path(file: str | os.PathLike, path: CameraPath) -> None:
  """Writes a JSON camera file that `load_path` reads."""
  fields = {
    "convention": "opencv",
    "world_from_camera": path.world_from_camera.tolist(),
  }
  if path.intrinsics is not None:
    fields["intrinsics"] = path.intrinsics.tolist()
  with open(file, "w", encoding="utf-8") as stream:
    json.dump(fields, stream, indent=1)


def _read_json(name: str) -> dict:
  try:
    with open(name, encoding="utf-8-sig") as stream:
      fields = json.load(stream)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise errors.UserError(
      f"{name}: a camera file is JSON or .npz; this one is not valid JSON "
      f"({error})"
    ) from error
  if not isinstance(fields, dict):
    raise errors.UserError(
      f"{name}: expected a JSON object with world_from_camera and convention, "
      f"found a {type(fields).__name__}"
    )
  return fields


def _read_npz(name: str) -> dict:
  try:
    opened = np.load(name, allow_pickle=False)
    if not isinstance(opened, np.lib.npyio.NpzFile):
      raise ValueError("a single array, not an archive")
    with opened as archive:
      return {key: archive[key] for key in archive.files}
  except (
    ValueError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise errors.UserError(
      f"{name}: expected an .npz camera file of plain arrays; it is damaged "
      f"or of another kind ({error})"
    ) from error


def _numbers(value, item: tuple, key: str, name: str) -> np.ndarray:
  """A finite float64 array [T *item], T at least 1."""
  try:
    array = np.asarray(value, np.float64)
  except (TypeError, ValueError) as error:
    raise errors.UserError(
      f"{name}: {key} must hold numbers in a regular shape ({error})"
    ) from error
  if array.shape == item:
    array = array[None]
  if array.ndim != len(item) + 1 or array.shape[1:] != item or not len(array):
    raise errors.UserError(
      f"{name}: {key} must have the shape T x {' x '.join(map(str, item))}, "
      f"found {array.shape}"
    )
  if not np.isfinite(array).all():
    raise errors.UserError(f"{name}: {key} holds NaN or infinite numbers")
  return array


def _check_rigid(poses: np.ndarray, name: str) -> None:
  rotation = poses[:, :3, :3]
  gram = rotation @ np.swapaxes(rotation, 1, 2)
  rigid = (
    np.isclose(gram, np.eye(3), atol=1e-3).all((1, 2))
    & (np.linalg.det(rotation) > 0)
    & np.isclose(poses[:, 3], (0, 0, 0, 1), atol=1e-6).all(-1)
  )
  if not rigid.all():
    raise errors.UserError(
      f"{name}: world_from_camera of frame {int(np.argmin(rigid))} is not a "
      "rotation and a translation with the last row 0 0 0 1"
    )


def _intrinsics(value, frames: int, name: str) -> Float[np.ndarray, "T 4"]:
  array = _numbers(value, (4,), "intrinsics", name)
  if len(array) not in (1, frames) or (array[:, :2] <= 0).any():
    raise errors.UserError(
      f"{name}: intrinsics must be one (fx, fy, cx, cy) or one per pose "
      f"({frames}), focal lengths positive; found shape {array.shape}"
    )
  return np.broadcast_to(array, (frames, 4)).astype(np.float32)
