"""The points of a scene, for viewers and other programs."""

import dataclasses
import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from more4d_jax import errors


@runtime_checkable
class SceneLike(Protocol):
  """The attributes of a scene that viewing needs, as `scene.Scene` has them.

  Attributes:
    tracks: metres, in the first camera's frame, [T H W 3].
    colours: the picture, [H W 3] uint8.
    intrinsics: (fx, fy, cx, cy) in pixels of the picture.
    fps: frames per second.
    metadata: JSON values.
  """

  tracks: np.ndarray
  colours: np.ndarray
  intrinsics: np.ndarray
  fps: float
  metadata: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cloud:
  """Moving coloured points, and the camera to look at them from.

  Attributes:
    positions: metres; x right, y down, z forward from the first camera.
    colours: of each point.
    spacing: metres between neighbours in the first frame, as that camera
      faces them: how large a point must be drawn to close the surface.
    stride: every stride-th row and column of the picture was taken.
    total: points of the picture.
    fov_y: vertical field of view of the first camera, radians.
  """

  positions: Float[np.ndarray, "T P 3"]
  colours: UInt8[np.ndarray, "P 3"]
  spacing: Float[np.ndarray, "P"]
  stride: int
  total: int
  fov_y: float

  @property
  def centre(self) -> Float[np.ndarray, "3"]:
    """Median of the first frame, metres."""
    return np.median(self.positions[0], axis=0)

  def summary(self) -> dict[str, int]:
    """The number of points and the stride, for the metadata of a file."""
    return {
      "frames": self.positions.shape[0],
      "points": self.positions.shape[1],
      "points_of_scene": self.total,
      "stride": self.stride,
    }


def from_scene(scene: SceneLike, max_positions: int | None = None) -> Cloud:
  """Points of a scene; those that are not finite in every frame are left out.

  Args:
    scene: the scene.
    max_positions: bound on frames times points; rows and columns are skipped
      evenly to keep it.

  Raises:
    UserError: no point is finite and in front of the first camera.
  """
  frames, height, width, _ = scene.tracks.shape
  stride = _stride(frames, height, width, max_positions)
  positions = scene.tracks[:, ::stride, ::stride].reshape(frames, -1, 3)
  positions = positions.astype(np.float32)
  usable = np.isfinite(positions).all((0, 2)) & (positions[0, :, 2] > 0)
  if not usable.any():
    raise errors.UserError(
      "expected a scene with points in front of the first camera, found none "
      "that is finite in every frame; generate the scene again"
    )
  focal = float(np.sqrt(scene.intrinsics[0] * scene.intrinsics[1]))
  return Cloud(
    positions=positions[:, usable],
    colours=scene.colours[::stride, ::stride].reshape(-1, 3)[usable],
    spacing=positions[0, usable, 2] * np.float32(stride / focal),
    stride=stride,
    total=height * width,
    fov_y=2 * math.atan(height / 2 / float(scene.intrinsics[1])),
  )


def _stride(
  frames: int, height: int, width: int, max_positions: int | None
) -> int:
  """Smallest step of rows and columns that keeps the bound, if any does."""
  if max_positions is None:
    return 1
  stride = 1
  while stride < max(height, width):
    points = -(-height // stride) * -(-width // stride)
    if frames * points <= max_positions:
      break
    stride += 1
  return stride


def thinned(cloud: Cloud, points: int) -> Cloud:
  """As many points as a budget allows, evenly spread over the surfaces.

  A point speaks for the area of the surface that it closes: the square of its
  spacing. Points are taken at even steps of that area along the rows of the
  picture, so that a far wall keeps as many points for its size as a near one,
  and sizes grow to close the gaps.

  Args:
    cloud: in the order of the picture's rows.
    points: the budget, at least 1.
  """
  if cloud.positions.shape[1] <= points:
    return cloud
  area = np.cumsum(cloud.spacing.astype(np.float64) ** 2)
  # Each point is hit at most once: large ones count for one step.
  step = area[-1] / points
  share = np.minimum(np.diff(area, prepend=0.0) / step, 1.0)
  for _ in range(50):  # The steps that large points give away.
    share = np.minimum(share * points / share.sum(), 1.0)
  passed = np.floor(np.cumsum(share) + 1e-9)
  chosen = np.flatnonzero(np.diff(passed, prepend=0.0) > 0)[:points]
  return dataclasses.replace(
    cloud,
    positions=cloud.positions[:, chosen],
    colours=cloud.colours[chosen],
    spacing=cloud.spacing[chosen] / np.sqrt(share[chosen]).astype(np.float32),
  )
