"""Soft shadows: depth maps seen from a distant light."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from data_pipelines.procedural.bodies import primitives
from data_pipelines.procedural.rendering import ray_casting

SIDE = 224
_CASTERS_FREE = ("ground", "water", "room")
# Eight places on a disc of radius 1.
_TAPS = np.array(
  [
    [0.0, 0.35],
    [-0.35, -0.1],
    [0.4, -0.15],
    [0.75, 0.5],
    [-0.6, 0.65],
    [-0.9, -0.3],
    [0.1, -0.85],
    [0.85, -0.5],
  ]
)


def casts(item: primitives.Primitive) -> bool:
  """Whether a body throws shadows: grounds and rooms do not."""
  return item.shape not in _CASTERS_FREE


@dataclasses.dataclass(frozen=True)
class Region:
  """The part of the stage in which shadows fall.

  Attributes:
    centre: metres.
    half: half its width across the light, metres.
    softness: radius of the half-shadow, metres.
  """

  centre: Float[np.ndarray, "3"]
  half: float
  softness: float


class ShadowMap:
  """Distances from a plane in front of the light to what it meets first."""

  def __init__(
    self,
    sun: ray_casting.Sun,
    region: Region,
    items: tuple[primitives.Primitive, ...],
    num_frames: int,
  ):
    """Sees what stands still once."""
    self._sun, self._region, self._items = sun, region, items
    self._texel = 2 * region.half / SIDE
    self._middle = sun.across @ region.centre
    self._top = sun.direction @ region.centre + 4 * region.half
    extent = sun.extents(list(items), num_frames)
    shift = np.repeat(self._middle, 2)
    self._windows = (extent - shift) / self._texel + 0.5 * SIDE
    still, moving = {}, {}
    for key, item in enumerate(items):
      if casts(item):
        (moving if item.object_number else still)[key] = item
    self._moving = moving
    grid = (np.arange(SIDE) + 0.5) * self._texel - region.half
    self._across = grid + self._middle[:, None]
    far = np.full((SIDE, SIDE), np.inf)
    self._still = self._cast(0, still, far)

  def _cast(self, frame, items, start):
    """Returns the map with `items` added, indexed by [second, first] axis."""
    depth = start.copy()
    first, second = self._sun.across
    for key, item in items.items():
      x0, x1, y0, y1 = np.clip(self._windows[key, frame], 0, SIDE)
      x0, y0 = int(np.floor(x0)), int(np.floor(y0))
      x1, y1 = int(np.ceil(x1)), int(np.ceil(y1))
      if x0 >= x1 or y0 >= y1:
        continue
      a, b = np.meshgrid(self._across[0, x0:x1], self._across[1, y0:y1])
      origin = (
        first[:, None] * a.ravel()
        + second[:, None] * b.ravel()
        + self._top * self._sun.direction[:, None]
      )
      rays = np.broadcast_to(-self._sun.direction[:, None], origin.shape)
      t = item.hit(frame, origin, rays).reshape(a.shape)
      part = depth[y0:y1, x0:x1]
      np.minimum(part, t, out=part)
    return depth

  def lit(
    self,
    frame: int,
    points: Float32[np.ndarray, "3 N"],
    normals: Float32[np.ndarray, "3 N"],
  ) -> Float32[np.ndarray, "N"]:
    """Returns the share of the light that reaches stage points.

    Args:
      frame: index of the frame.
      points: on surfaces.
      normals: of the surfaces, towards the viewer.
    """
    depth = self._cast(frame, self._moving, self._still).astype(np.float32)
    # Outside of the map there is no shadow.
    padded = np.pad(depth, 1, constant_values=np.inf)
    lifted = points + np.float32(1.6 * self._texel) * normals
    # Along the light, and across it in texels.
    axes = np.stack(
      [-self._sun.direction, *(self._sun.across / self._texel)]
    ).astype(np.float32)
    start = [self._top - 0.6 * self._texel]
    start += list(0.5 * SIDE + 1 - self._middle / self._texel)
    own, x, y = axes @ lifted + np.array(start, np.float32)[:, None]
    radius = max(self._region.softness / self._texel, 0.7)
    total = np.zeros(points.shape[1], np.float32)
    flat = padded.ravel()
    for dx, dy in _TAPS * radius:
      column = np.clip(x + np.float32(dx), 0, SIDE + 1).astype(np.int32)
      row = np.clip(y + np.float32(dy), 0, SIDE + 1).astype(np.int32)
      total += own < flat.take(row * (SIDE + 2) + column)
    return total / len(_TAPS)
