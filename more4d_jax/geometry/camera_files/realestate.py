"""RealEstate10K text files: a frame a line after the address of its film.

A line has 19 numbers: a time in microseconds; fx, fy, cx, cy in shares of the
picture's width and height; two of distortion; the first three rows of
camera_from_world, OpenCV axes. Source: the data set's description.
"""

import os

import numpy as np

from more4d_jax import errors, plausibility
from more4d_jax.geometry.camera_files import content, path

_COLUMNS = 19


def _numbers(line: str) -> list[float] | None:
  words = line.split()
  try:
    return [float(word) for word in words] if words else None
  except ValueError:
    return None


def matches(found: content.Content) -> bool:
  """Whether one of the first lines has as many numbers."""
  lines = [line for line in found.lines or () if line.strip()]
  return any(len(_numbers(line) or ()) == _COLUMNS for line in lines[:2])


def read(found: content.Content) -> path.CameraPath:
  """Reads a file; the path starts at its first camera.

  Raises:
    UserError: for lines of other numbers, or poses that are not rigid.
  """
  rows = []
  lines = [line for line in found.lines if line.strip()]
  start = 0 if _numbers(lines[0]) else 1
  for number, line in enumerate(lines[start:], start=start + 1):
    row = _numbers(line)
    if row is None or len(row) != _COLUMNS:
      raise errors.UserError(
        f"{found.name}: expected {_COLUMNS} numbers in line {number}, as in "
        f"RealEstate10K, found {line.strip()[:60]!r}"
      )
    rows.append(row)
  values = plausibility.numbers(rows, f"{found.name}: a line")
  if np.any(values[:, 5:7]):
    plausibility.LOG.warning(
      "%s: the lens's distortion is left out", found.name
    )
  poses = plausibility.rigid_poses(
    values[:, 7:].reshape(-1, 3, 4), f"{found.name}: camera_from_world"
  )
  lens = plausibility.pinhole(values[:, 1:5], f"{found.name}: intrinsics")
  poses = np.linalg.inv(poses)
  return path.make(poses, lens, None, found.name).from_first()


def write(name: str | os.PathLike, found: path.CameraPath) -> None:
  """Writes a file; the first line, of the film's address, is a comment."""
  lens, (height, width) = path.lens_of(found, "RealEstate10K")
  shares = lens / (width, height, width, height)
  poses = np.linalg.inv(found.world_from_camera.astype(np.float64))[:, :3]
  lines = ["# camera path"]
  for number, (camera, pose) in enumerate(zip(shares, poses)):
    values = [*camera, 0.0, 0.0, *pose.reshape(-1)]
    lines.append(" ".join([str(number), *(f"{v:.9g}" for v in values)]))
  content.write(name, "\n".join([*lines, ""]).encode())
