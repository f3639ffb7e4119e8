"""Points as small tiles on the screen.

A tile is a parallelogram around the projection of a point. Its local
coordinates (u, v) count steps of the grid that the points come from, so that
neighbouring tiles of half size 0.5 meet. Arrays are kept apart by component,
which compilers turn into faster loops.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from more4d_jax.geometry import cameras

_NEAR = 1e-6  # Metres; points at or behind this depth are not seen.
_FAR_AWAY = -1e6  # Pixels; where points that are not seen are put.
# Square pixels. A tile seen from its edge keeps an area of this size, so that
# its local coordinates stay finite.
_LEAST_AREA = 1e-3


@flax.struct.dataclass
class Surfels:
  """Tiles on the screen.

  Attributes:
    x: column of the centre in pixels; pixel centres lie at + 0.5.
    y: row of the centre.
    depth: along z in metres; infinite for points that are not seen.
    steps: (x, y) in pixels of one step along u, then of one along v.
  """

  x: Float[Array, "*P"]
  y: Float[Array, "*P"]
  depth: Float[Array, "*P"]
  steps: tuple[
    Float[Array, "*P"],
    Float[Array, "*P"],
    Float[Array, "*P"],
    Float[Array, "*P"],
  ]

  def local(
    self, column: Float[Array, "*#P"], row: Float[Array, "*#P"]
  ) -> tuple[Float[Array, "*#P"], Float[Array, "*#P"]]:
    """(u, v) of one position on the screen for each tile."""
    ux, uy, vx, vy = self.steps
    area = ux * vy - vx * uy
    least = jnp.where(area < 0, -_LEAST_AREA, _LEAST_AREA)
    scale = 1 / jnp.where(jnp.abs(area) < _LEAST_AREA, least, area)
    dx, dy = column - self.x, row - self.y
    return (vy * dx - vx * dy) * scale, (ux * dy - uy * dx) * scale

  def bounds(
    self, splat: float
  ) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """Half width and height in pixels of the box around each tile.

    Args:
      splat: half size of a tile in steps.
    """
    ux, uy, vx, vy = map(jnp.abs, self.steps)
    return splat * (ux + vx), splat * (uy + vy)


def project(
  points: Float[Array, "*P 3"],
  world_from_camera: Float[Array, "4 4"],
  intrinsics: Float[Array, "4"],
) -> tuple[Float[Array, "*P"], Float[Array, "*P"], Float[Array, "*P"]]:
  """Column, row and depth; infinite depth where a point is not seen."""
  # By component: much faster than along a last axis of three.
  pose = cameras.invert_pose(world_from_camera)
  fx, fy, cx, cy = intrinsics
  x, y, z = (
    row[0] * points[..., 0]
    + row[1] * points[..., 1]
    + row[2] * points[..., 2]
    + row[3]
    for row in pose[:3]
  )
  usable = jnp.isfinite(x) & jnp.isfinite(y) & jnp.isfinite(z) & (z > _NEAR)
  x = jnp.where(usable, fx * x / z + cx, _FAR_AWAY)
  y = jnp.where(usable, fy * y / z + cy, _FAR_AWAY)
  return x, y, jnp.where(usable, z, jnp.inf)


def facing(
  x: Float[Array, "*P"],
  y: Float[Array, "*P"],
  depth: Float[Array, "*P"],
  size: Float[Array, "*P 2"],
  intrinsics: Float[Array, "4"],
) -> Surfels:
  """Tiles that face the camera.

  Args:
    x: columns.
    y: rows.
    depth: metres.
    size: of one step in metres, along the camera's x and y.
    intrinsics: (fx, fy, cx, cy) in pixels.
  """
  scale = jnp.where(jnp.isfinite(depth), 1 / depth, 0.0)
  zero = jnp.zeros_like(x)
  step_x = size[..., 0] * intrinsics[0] * scale
  step_y = size[..., 1] * intrinsics[1] * scale
  return Surfels(x, y, depth, (step_x, zero, zero, step_y))


def on_grid(
  x: Float[Array, "h w"],
  y: Float[Array, "h w"],
  depth: Float[Array, "h w"],
  right: Bool[Array, "h w"],
  down: Bool[Array, "h w"],
  alone: Surfels,
) -> Surfels:
  """Tiles that reach to the neighbours of the same surface.

  Args:
    x: columns of the points of a grid.
    y: rows.
    depth: metres.
    right: True where a point and the next of its row lie on one surface.
    down: the same for the next of its column.
    alone: the tile of a point without a neighbour.
  """
  right &= _both_seen(depth, 1)
  down &= _both_seen(depth, 0)
  ux, uy, vx, vy = alone.steps
  steps = (
    _difference(x, right, 1, ux),
    _difference(y, right, 1, uy),
    _difference(x, down, 0, vx),
    _difference(y, down, 0, vy),
  )
  return Surfels(x, y, depth, steps)


def _both_seen(depth: Float[Array, "h w"], axis: int) -> Bool[Array, "h w"]:
  seen = jnp.isfinite(depth)
  return seen & jnp.roll(seen, -1, axis)


def _difference(
  values: Float[Array, "h w"],
  linked: Bool[Array, "h w"],
  axis: int,
  alone: Float[Array, "h w"],
) -> Float[Array, "h w"]:
  """Mean of the steps to the linked neighbours along an axis."""
  ahead = jnp.where(linked, jnp.roll(values, -1, axis) - values, 0)
  behind = jnp.roll(ahead, 1, axis)
  count = linked.astype(jnp.float32)
  count += jnp.roll(count, 1, axis)
  return jnp.where(count > 0, (ahead + behind) / jnp.maximum(count, 1), alone)
