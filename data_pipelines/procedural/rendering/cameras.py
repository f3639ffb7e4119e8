"""Pinhole cameras on the stage, and which pixels a primitive can cover."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int

from data_pipelines.procedural.bodies import primitives

_NEAR = 1e-3


@dataclasses.dataclass(frozen=True)
class Camera:
  """A camera with one pose per frame.

  Attributes:
    intrinsics: (fx, fy, cx, cy) in pixels, [4] float64.
    height, width: pixels.
    stage_from_camera: [T 4 4] float64.
  """

  intrinsics: Float[np.ndarray, "4"]
  height: int
  width: int
  stage_from_camera: Float[np.ndarray, "T 4 4"]

  @property
  def num_frames(self) -> int:
    """Returns the number of poses."""
    return len(self.stage_from_camera)

  @functools.cached_property
  def is_static(self) -> bool:
    """Whether every frame has the first frame's pose."""
    poses = self.stage_from_camera
    return bool((poses == poses[:1]).all())

  @functools.cached_property
  def directions(self) -> Float[np.ndarray, "3 HW"]:
    """Returns camera-space rays through the pixel centres; z is 1."""
    fx, fy, cx, cy = self.intrinsics
    x = (np.arange(self.width) + 0.5 - cx) / fx
    y = (np.arange(self.height) + 0.5 - cy) / fy
    x, y = np.meshgrid(x, y)
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)])

  def pixels(
    self, directions: Float[np.ndarray, "3 N"]
  ) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Returns (x, y) in pixels of camera-space directions with z = 1."""
    fx, fy, cx, cy = self.intrinsics
    return directions[0] * fx + cx, directions[1] * fy + cy

  def origin(self, frame: int) -> Float[np.ndarray, "3 1"]:
    """Returns the camera centre on the stage."""
    return self.stage_from_camera[frame, :3, 3:]

  def stage_directions(
    self, frame: int, directions: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Turns camera-space directions onto the stage."""
    return self.stage_from_camera[frame, :3, :3] @ directions

  def to_camera(
    self, frame: int, points: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Returns stage points in camera coordinates."""
    pose = self.stage_from_camera[frame]
    return pose[:3, :3].T @ (points - pose[:3, 3:])


def perspective_extent(
  points: Float[np.ndarray, "T K 3"], radius: float
) -> tuple[Float[np.ndarray, "T 4"], Bool[np.ndarray, "T"]]:
  """Returns slopes (x/z low, x/z high, y/z low, y/z high) that hold balls.

  Args:
    points: ball centres in camera coordinates.
    radius: of every ball, metres.
  Returns: the extents, infinite where a ball reaches the camera plane, and
    whether anything lies in front of the camera.
  """
  z = points[..., 2]
  in_front = (z + radius > _NEAR).any(axis=-1)
  low, high = [], []
  crosses = np.zeros(z.shape, bool)
  for axis in (0, 1):
    side = points[..., axis]
    distance = np.hypot(side, z)
    spread = np.arcsin(np.clip(radius / np.maximum(distance, 1e-9), 0, 1))
    angle = np.arctan2(side, z)
    crosses |= (np.abs(angle) + spread > 1.55) | (distance <= radius)
    low.append(np.tan(np.clip(angle - spread, -1.55, 1.55)))
    high.append(np.tan(np.clip(angle + spread, -1.55, 1.55)))
  extent = np.stack(
    [low[0].min(-1), high[0].max(-1), low[1].min(-1), high[1].max(-1)], -1
  )
  everything = np.array([-np.inf, np.inf, -np.inf, np.inf])
  return np.where(crosses.any(-1)[:, None], everything, extent), in_front


def extents(
  camera: Camera, items: list[primitives.Primitive]
) -> Float[np.ndarray, "P T 4"]:
  """Returns each primitive's (x0, x1, y0, y1) in pixels, conservatively.

  A primitive behind the camera has an empty extent.
  """
  fx, fy, cx, cy = camera.intrinsics
  scale, shift = np.array([fx, fx, fy, fy]), np.array([cx, cx, cy, cy])
  out = np.zeros((len(items), camera.num_frames, 4))
  rotation = camera.stage_from_camera[:, :3, :3]
  centre = camera.stage_from_camera[:, None, :3, 3]
  for number, item in enumerate(items):
    if item.shape == "room":
      out[number] = (-np.inf, np.inf, -np.inf, np.inf)
      continue
    points, radius = item.bounds()
    slopes, in_front = perspective_extent((points - centre) @ rotation, radius)
    out[number] = np.where(in_front[:, None], slopes * scale + shift, -1e9)
  return out


def pixel_windows(
  extent: Float[np.ndarray, "P T 4"], height: int, width: int
) -> Int[np.ndarray, "P T 4"]:
  """Returns (row0, row1, col0, col1) of the pixels within each extent."""
  x0, x1, y0, y1 = np.moveaxis(extent, -1, 0)
  low = [
    np.floor(np.clip(v - 0.5, 0, n)) for v, n in ((y0, height), (x0, width))
  ]
  high = [
    np.ceil(np.clip(v + 0.5, 0, n)) for v, n in ((y1, height), (x1, width))
  ]
  return np.stack([low[0], high[0], low[1], high[1]], -1).astype(np.int64)


def look_at(
  eye: Float[np.ndarray, "T 3"], target: Float[np.ndarray, "T 3"]
) -> Float[np.ndarray, "T 4 4"]:
  """Returns poses at `eye` that look at `target` without roll; y is down."""
  z = target - eye
  z = z / np.linalg.norm(z, axis=-1, keepdims=True)
  x = np.cross(np.broadcast_to([0.0, 1.0, 0.0], z.shape), z)
  x = x / np.linalg.norm(x, axis=-1, keepdims=True)
  pose = np.zeros((len(eye), 4, 4))
  pose[:, :3, 0], pose[:, :3, 1], pose[:, :3, 2] = x, np.cross(z, x), z
  pose[:, :3, 3] = eye
  pose[:, 3, 3] = 1.0
  return pose
