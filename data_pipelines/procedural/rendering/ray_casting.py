"""Closest hits of camera rays, and whether points are hidden from a viewer."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int

from data_pipelines.procedural.bodies import primitives
from data_pipelines.procedural.rendering import cameras

# A hit nearer than this share of the distance hides a point; it exceeds the
# rounding of an intersection and is far below the size of any primitive.
_MARGIN = 1e-3


@dataclasses.dataclass(frozen=True)
class Hits:
  """What every pixel sees: z-depth [H W] and number of the primitive [H W]."""

  depth: Float[np.ndarray, "H W"]
  number: Int[np.ndarray, "H W"]


def cast(
  camera: cameras.Camera,
  frame: int,
  items: dict[int, primitives.Primitive],
  windows: Int[np.ndarray, "P T 4"],
  behind: Hits | None = None,
) -> Hits:
  """Finds the nearest primitive along every pixel's ray.

  Args:
    camera: its rays have z = 1, so the ray parameter is the z-depth.
    frame: index of the frame.
    items: primitives by number.
    windows: pixels that each primitive may cover.
    behind: hits of other primitives, to start from.
  """
  shape = (camera.height, camera.width)
  if behind is None:
    depth, number = np.full(shape, np.inf), np.full(shape, -1)
  else:
    depth, number = behind.depth.copy(), behind.number.copy()
  rays = camera.stage_directions(frame, camera.directions).reshape(3, *shape)
  origin = camera.origin(frame)
  for key, item in items.items():
    row0, row1, col0, col1 = windows[key, frame]
    if row0 >= row1 or col0 >= col1:
      continue
    window = (slice(row0, row1), slice(col0, col1))
    part = depth[window]
    t = item.hit(frame, origin, rays[:, *window].reshape(3, -1))
    nearer = t.reshape(part.shape) < part
    part[nearer] = t.reshape(part.shape)[nearer]
    number[window][nearer] = key
  return Hits(depth, number)


def nearest(
  camera: cameras.Camera,
  frame: int,
  directions: Float[np.ndarray, "3 N"],
  items: dict[int, primitives.Primitive],
  extent: Float[np.ndarray, "P T 4"],
) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"]]:
  """Returns z-depth and number of the primitive along any camera rays.

  Args:
    directions: in camera coordinates, z is 1.
    extent: pixels that each primitive may cover.
  """
  rays = camera.stage_directions(frame, directions)
  origin = camera.origin(frame)
  x, y = camera.pixels(directions)
  depth = np.full(directions.shape[1], np.inf)
  number = np.full(directions.shape[1], -1)
  for key, item in items.items():
    maybe = _within(x, y, extent[key, frame])
    t = item.hit(frame, origin, rays[:, maybe])
    nearer = t < depth[maybe]
    depth[maybe[nearer]] = t[nearer]
    number[maybe[nearer]] = key
  return depth, number


def _within(x, y, extent):
  """Returns the indices of the points inside one extent."""
  x0, x1, y0, y1 = extent
  return np.flatnonzero((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))


def hidden(
  camera: cameras.Camera,
  frame: int,
  points: Float[np.ndarray, "3 N"],
  items: dict[int, primitives.Primitive],
  extent: Float[np.ndarray, "P T 4"],
) -> Bool[np.ndarray, "N"]:
  """Whether a primitive lies between the camera and each point.

  Args:
    points: in camera coordinates, all in front of the camera.
    extent: pixels that each primitive may cover.
  """
  directions = points / points[2]
  x, y = camera.pixels(directions)
  rays = camera.stage_directions(frame, directions)
  origin = camera.origin(frame)
  blocked = np.zeros(points.shape[1], bool)
  for key, item in items.items():
    maybe = _within(x, y, extent[key, frame])
    if maybe.size:
      t = item.hit(frame, origin, rays[:, maybe])
      blocked[maybe] |= t < points[2, maybe] * (1 - _MARGIN)
  return blocked


@dataclasses.dataclass(frozen=True)
class Sun:
  """A light at infinity: the direction towards it and two axes across it."""

  direction: Float[np.ndarray, "3"]

  @functools.cached_property
  def across(self) -> Float[np.ndarray, "2 3"]:
    """Returns two unit vectors perpendicular to the light."""
    first = np.cross(self.direction, [0.0, 0.0, 1.0])
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(self.direction, first)])

  def extents(
    self, items: list[primitives.Primitive], num_frames: int
  ) -> Float[np.ndarray, "P T 4"]:
    """Returns each primitive's extent across the light, in metres."""
    out = np.zeros((len(items), num_frames, 4))
    for number, item in enumerate(items):
      if item.shape == "room":
        out[number] = (np.inf, -np.inf, np.inf, -np.inf)
        continue
      points, radius = item.bounds()
      seen = points @ self.across.T  # [T K 2]
      low, high = seen.min(axis=1) - radius, seen.max(axis=1) + radius
      out[number] = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], -1)
    return out


def shadowed(
  sun: Sun,
  frame: int,
  surface: tuple[Float[np.ndarray, "3 N"], Int[np.ndarray, "N"]],
  items: dict[int, primitives.Primitive],
  extent: Float[np.ndarray, "P T 4"],
) -> Bool[np.ndarray, "N"]:
  """Whether a primitive lies between each surface point and the sun.

  Args:
    sun: the light.
    frame: index of the frame.
    surface: stage points, and the number of the primitive that each is on; a
      primitive throws no shadow on itself.
    items: what can throw shadows, by number.
    extent: of each primitive across the light, see `Sun.extents`.
  """
  points, owner = surface
  start = points + 2e-3 * sun.direction[:, None]
  x, y = sun.across @ points
  ray = sun.direction[:, None]
  blocked = np.zeros(points.shape[1], bool)
  for key, item in items.items():
    maybe = _within(x, y, extent[key, frame])
    maybe = maybe[owner[maybe] != key]
    if maybe.size:
      rays = np.broadcast_to(ray, (3, maybe.size))
      blocked[maybe] |= np.isfinite(item.hit(frame, start[:, maybe], rays))
  return blocked
