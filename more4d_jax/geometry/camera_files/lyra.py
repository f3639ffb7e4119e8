"""NPZ files of Lyra and Gen3C.

Lyra 2 takes `w2c` (camera_from_world, T 4 4), `intrinsics` (T 3 3), and
`image_height` and `image_width` that these belong to. Gen3C and Lyra 1 take
what ViPE writes: `pose/NAME.npz` with `data` (world_from_camera) and `inds`,
the numbers of the frames, and `intrinsics/NAME.npz` with (fx, fy, cx, cy) in
`data`. OpenCV axes. Source: the loaders of their published code.
"""

import io
import os

import numpy as np
from jaxtyping import Float

from more4d_jax import errors, plausibility
from more4d_jax.geometry.camera_files import content, path

_KEYS = {"w2c", "intrinsics", "image_height", "image_width"}


def matches(found: content.Content) -> bool:
  """Whether an archive holds poses under one of their names."""
  return found.is_archive and not {"w2c", "data"}.isdisjoint(found.fields)


def read(found: content.Content) -> path.CameraPath:
  """Reads a file; the path starts at its first camera.

  Raises:
    UserError: for poses that are not rigid or other wrong arrays.
  """
  name, fields = found.name, found.fields
  if "w2c" not in fields:
    return _read_vipe(found)
  plausibility.say_unread(set(fields) - _KEYS, name)
  poses = plausibility.rigid_poses(fields["w2c"], f"{name}: w2c")
  lens = size = None
  if "intrinsics" in fields:
    lens = plausibility.pinhole(fields["intrinsics"], f"{name}: intrinsics")
    if "image_height" in fields or "image_width" in fields:
      size = plausibility.picture_size(
        fields.get("image_height"), fields.get("image_width"), name
      )
  return path.make(np.linalg.inv(poses), lens, size, name).from_first()


def _read_vipe(found: content.Content) -> path.CameraPath:
  name, fields = found.name, found.fields
  plausibility.say_unread(set(fields) - {"data", "inds"}, name)
  poses = plausibility.rigid_poses(fields["data"], f"{name}: data")
  order = _order(fields, len(poses), name)
  lens = None
  folder, base = os.path.split(os.path.abspath(name))
  beside = os.path.join(os.path.dirname(folder), "intrinsics", base)
  if os.path.basename(folder) == "pose" and os.path.isfile(beside):
    cameras = content.read(beside).fields
    if "data" not in cameras:
      raise errors.UserError(
        f"{beside}: expected an array 'data' of (fx, fy, cx, cy), found "
        f"{', '.join(cameras) or 'none'}"
      )
    lens = plausibility.pinhole(cameras["data"], f"{beside}: data")
    lens = lens[_order(cameras, len(lens), beside)]
  return path.make(poses[order], lens, None, name).from_first()


def _order(fields: dict, count: int, name: str) -> np.ndarray:
  """Positions of arrays in the order of their frames."""
  if "inds" not in fields:
    return np.arange(count)
  numbers = plausibility.numbers(fields["inds"], f"{name}: inds")
  if numbers.shape != (count,):
    raise errors.UserError(
      f"{name}: inds must number the {count} frames, found shape "
      f"{numbers.shape}"
    )
  return np.argsort(numbers, kind="stable")


def write(name: str | os.PathLike, found: path.CameraPath) -> None:
  """Writes a file for Lyra 2."""
  lens, (height, width) = path.lens_of(found, "Lyra")
  poses = np.linalg.inv(found.world_from_camera.astype(np.float64))
  stream = io.BytesIO()
  np.savez(
    stream,
    w2c=poses.astype(np.float32),
    intrinsics=_matrices(lens).astype(np.float32),
    image_height=height,
    image_width=width,
  )
  content.write(name, stream.getvalue())


def _matrices(
  lens: Float[np.ndarray, "T 4"],
) -> Float[np.ndarray, "T 3 3"]:
  matrices = np.tile(np.eye(3), (len(lens), 1, 1))
  matrices[:, [0, 1, 0, 1], [0, 1, 2, 2]] = lens
  return matrices
