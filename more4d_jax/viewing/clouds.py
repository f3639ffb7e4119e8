"""The points of a scene, for viewers and other programs."""

import dataclasses
import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from more4d_jax import errors

_EDGE = 0.05  # Relative change of depth from a point to the next; a full edge.
_CONTRAST = 32.0  # Change of brightness, of 255; the same.
_EDGE_WEIGHT = 3.0  # So many times more points stay at a full edge.
_STEEPEST = 4.0  # A slanted surface counts for at most so many facing ones.


@runtime_checkable
class SceneLike(Protocol):
  """The attributes of a scene that viewing needs, as `scene.Scene` has them.

  Attributes:
    tracks: metres, in the first camera's frame, [T H W 3].
    visible: whether the first camera sees the point, [T H W].
    colours: the picture, [H W 3] uint8.
    intrinsics: (fx, fy, cx, cy) in pixels of the picture.
    fps: frames per second.
    metadata: JSON values.
  """

  tracks: np.ndarray
  visible: np.ndarray
  colours: np.ndarray
  intrinsics: np.ndarray
  fps: float
  metadata: dict[str, Any]

  def render(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Film and coverage from a pose that stays, world_from_camera [1 4 4]."""


@dataclasses.dataclass(frozen=True)
class Cloud:
  """Moving coloured points, and the camera to look at them from.

  Attributes:
    positions: metres; x right, y down, z forward from the first camera.
    colours: of each point.
    pixels: of the picture that became the points, counted by rows; ascending.
    slopes: of the surface under each point in the first frame: change of the
      logarithm of depth for a step to the right and down by one depth, as the
      first camera faces it; 1 is a slant of 45 degrees at the picture's centre.
    growth: how many times larger than its pixel a point is, to close the gaps
      of those that were left out.
    size: (H, W) of the picture.
    intrinsics: (fx, fy, cx, cy) in pixels of the picture.
  """

  positions: Float[np.ndarray, "T P 3"]
  colours: UInt8[np.ndarray, "P 3"]
  pixels: Int[np.ndarray, "P"]
  slopes: Float[np.ndarray, "P 2"]
  growth: Float[np.ndarray, "P"]
  size: tuple[int, int]
  intrinsics: Float[np.ndarray, "4"]

  @property
  def spacing(self) -> Float[np.ndarray, "P"]:
    """Metres between neighbours in the first frame, as its camera faces them.

    So large a point must be drawn to close the surface.
    """
    focal = np.float32(np.sqrt(self.intrinsics[0] * self.intrinsics[1]))
    return self.positions[0, :, 2] / focal * self.growth

  @property
  def centre(self) -> Float[np.ndarray, "3"]:
    """Median of the first frame, metres."""
    return np.median(self.positions[0], axis=0)

  @property
  def fov_y(self) -> float:
    """Vertical field of view of the first camera, radians."""
    return 2 * math.atan(self.size[0] / 2 / float(self.intrinsics[1]))

  def summary(self) -> dict[str, int]:
    """Numbers of frames and points, for the metadata of a file."""
    return {
      "frames": self.positions.shape[0],
      "points": self.positions.shape[1],
      "points_of_scene": self.size[0] * self.size[1],
    }


def from_scene(scene: SceneLike) -> Cloud:
  """Points of a scene; those that are not finite in every frame are left out.

  Raises:
    UserError: no point is finite and in front of the first camera.
  """
  frames, height, width, _ = scene.tracks.shape
  positions = scene.tracks.reshape(frames, -1, 3).astype(np.float32)
  usable = np.isfinite(positions).all((0, 2)) & (positions[0, :, 2] > 0)
  if not usable.any():
    raise errors.UserError(
      "expected a scene with points in front of the first camera, found none "
      "that is finite in every frame; generate the scene again"
    )
  if not usable.all():
    positions = positions[:, usable]
  pixels = np.flatnonzero(usable)
  intrinsics = np.asarray(scene.intrinsics, np.float32)
  return Cloud(
    positions=positions,
    colours=scene.colours.reshape(-1, 3)[usable],
    pixels=pixels,
    slopes=_slopes(
      _on_grid(positions[0, :, 2], pixels, (height, width)), intrinsics
    ).reshape(-1, 2)[usable],
    growth=np.ones(len(pixels), np.float32),
    size=(height, width),
    intrinsics=intrinsics,
  )


def thinned(cloud: Cloud, points: int) -> Cloud:
  """As many points as a budget allows, those that show most.

  Points weigh more at edges of depth and brightness, and on slanted surfaces,
  which are larger than they look. They are chosen by comparing weights with an
  even mask of thresholds, so that they keep even distances wherever weights
  are equal; the others grow to close the gaps.

  Args:
    cloud: the points.
    points: the budget, at least 1.

  Source: the mask is the R2 sequence, Roberts, "The unreasonable effectiveness
    of quasirandom sequences", 2018.
  """
  if len(cloud.pixels) <= points:
    return cloud
  slanted = np.sqrt(1 + (cloud.slopes.astype(np.float64) ** 2).sum(-1))
  weight = slanted.clip(None, _STEEPEST) * (1 + _EDGE_WEIGHT * _detail(cloud))
  rows, columns = np.divmod(cloud.pixels, cloud.size[1])
  mask = (0.7548776662466927 * columns + 0.5698402909980532 * rows) % 1
  score = weight / np.maximum(mask, 1e-9)
  chosen = np.sort(np.argpartition(score, -points)[-points:])
  share = np.minimum(weight[chosen] / score[chosen].min(), 1)
  return dataclasses.replace(
    cloud,
    positions=cloud.positions[:, chosen],
    colours=cloud.colours[chosen],
    pixels=cloud.pixels[chosen],
    slopes=cloud.slopes[chosen],
    growth=cloud.growth[chosen] / np.sqrt(share).astype(np.float32),
  )


def _on_grid(
  values: Float[np.ndarray, "P"],
  pixels: Int[np.ndarray, "P"],
  size: tuple[int, int],
) -> Float[np.ndarray, "H W"]:
  """Values at their pixels, NaN elsewhere."""
  grid = np.full(size, np.nan, np.float32)
  grid.ravel()[pixels] = values
  return grid


def _slopes(
  depth: Float[np.ndarray, "H W"], intrinsics: Float[np.ndarray, "4"]
) -> Float[np.ndarray, "H W 2"]:
  """`Cloud.slopes` of a picture; 0 where no neighbour is known.

  Inverse depth is linear on a plane. Of the two neighbours along an axis the
  one counts whose inverse depth is closer: it lies on the same surface.
  """
  inverse = 1 / depth.astype(np.float64)
  slopes = []
  for axis, focal in ((1, intrinsics[0]), (0, intrinsics[1])):
    before, after = _steps(inverse, axis)
    step = np.where(np.abs(before) < np.abs(after), before, after)
    step = np.where(np.isfinite(step), step, 0)
    slopes.append(np.nan_to_num(-step / inverse * focal))
  return np.stack(slopes, axis=-1).astype(np.float32)


def _detail(cloud: Cloud) -> Float[np.ndarray, "P"]:
  """0 on even surfaces to 1 at full edges of depth or brightness."""
  depth = np.log(cloud.positions[0, :, 2])
  brightness = cloud.colours.mean(-1, dtype=np.float32)
  found = np.zeros(len(cloud.pixels))
  for values, full in ((depth, np.log1p(_EDGE)), (brightness, _CONTRAST)):
    grid = _on_grid(values, cloud.pixels, cloud.size)
    for axis in (0, 1):
      for step in _steps(grid, axis):
        change = np.abs(step.ravel()[cloud.pixels]) / full
        found = np.fmax(found, np.where(np.isfinite(change), change, 0))
  return found.clip(0, 1)


def _steps(
  grid: Float[np.ndarray, "H W"], axis: int
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
  """Changes from the neighbour before and to the one after.

  Infinite where there is none, so that the other one is closer.
  """
  step = np.diff(grid, axis=axis)
  step = np.where(np.isfinite(step), step, np.inf)
  end = [(0, 0), (0, 0)]
  end[axis] = (1, 0)
  before = np.pad(step, end, constant_values=np.inf)
  end[axis] = (0, 1)
  return before, np.pad(step, end, constant_values=np.inf)
