"""Point renderer with a depth buffer (docs/method/rendering.md#z-buffer).

A point covers the pixel it falls into. Given a footprint, it is a small
rectangle facing the camera and covers every pixel whose centre lies inside;
that closes the cracks which open when the camera comes nearer. The colour of
a pixel is the mean colour of the points that share its smallest depth.
Holes are the pixels that no point covers, whatever their colour.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from more4d_jax.geometry import cameras

_NEAR = 1e-6  # Metres; points at or behind this depth are not seen.


@functools.partial(jax.jit, static_argnames=("height", "width", "max_radius"))
def render_points(
  points: Float[Array, "P 3"],
  colours: Float[Array, "P 3"],
  world_from_camera: Float[Array, "4 4"],
  intrinsics: Float[Array, "4"],
  height: int,
  width: int,
  *,
  footprint: Float[Array, "P 2"] | None = None,
  max_radius: int = 2,
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"], Bool[Array, "H W"]]:
  """Renders coloured points from one camera.

  Args:
    points: metres, in the world; those that are not finite are not drawn.
    colours: any range; the background is 0.
    world_from_camera: pose of the camera.
    intrinsics: (fx, fy, cx, cy) in pixels of the rendered image.
    height: H of the rendered image.
    width: W of the rendered image.
    footprint: half width and half height of each point in metres, as the
      camera faces it; None draws single pixels.
    max_radius: a footprint reaches at most so many pixels from its own; work
      grows with the square of it.

  Returns:
    Colour, 0 where nothing was drawn; depth along z in metres, infinite where
    nothing was drawn; and coverage, True where a point was drawn.

  Source: docs/method/rendering.md#z-buffer. Differs from the original: holes
  come from coverage, colour is not truncated, and there is a footprint.
  """
  camera_from_world = cameras.invert_pose(world_from_camera)
  seen = cameras.transform(points, camera_from_world)
  xy, z = cameras.project(seen, intrinsics)
  usable = jnp.all(jnp.isfinite(seen), axis=-1) & (z > _NEAR)
  xy = jnp.where(usable[:, None], xy, -1e6)
  pixel = _own_pixel(xy, height, width)
  if footprint is None:
    reach, half = 0, jnp.full_like(xy, 0.5)
  else:
    reach = max_radius
    half = footprint * intrinsics[:2] / jnp.where(usable, z, 1.0)[:, None]
    half = jnp.clip(half, 0.5, max_radius + 0.5)

  def targets(offset):
    """Flat pixel number that each point draws on; H * W is nowhere."""
    cell = pixel + offset
    near = jnp.all(jnp.abs(cell + 0.5 - xy) <= half, axis=-1)
    drawn = usable & (near | jnp.all(offset == 0))
    x, y = cell[:, 0], cell[:, 1]
    drawn &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return jnp.where(drawn, y * width + x, height * width)

  offsets = _offsets(reach)
  depth = jnp.full(height * width, jnp.inf, jnp.float32)
  depth = jax.lax.fori_loop(
    0,
    len(offsets),
    lambda i, d: d.at[targets(offsets[i])].min(z, mode="drop"),
    depth,
  )

  def add(i, sums):
    colour, count = sums
    index = targets(offsets[i])
    front = z == depth.at[index].get(mode="fill", fill_value=-1.0)
    index = jnp.where(front, index, height * width)
    colour = colour.at[index].add(colours, mode="drop")
    return colour, count.at[index].add(1.0, mode="drop")

  start = jnp.zeros((height * width, 3)), jnp.zeros(height * width)
  colour, count = jax.lax.fori_loop(0, len(offsets), add, start)
  colour = colour / jnp.maximum(count, 1.0)[:, None]
  covered = (count > 0).reshape(height, width)
  return (
    colour.reshape(height, width, 3),
    depth.reshape(height, width),
    covered,
  )


def _own_pixel(
  xy: Float[Array, "P 2"], height: int, width: int
) -> Int[Array, "P 2"]:
  """Pixel that holds each position; the far edges belong to the last one."""
  size = jnp.asarray([width, height], jnp.float32)
  pixel = jnp.where(xy == size, size - 1, jnp.floor(xy))
  # Far positions stay outside, but within the range of integers.
  return jnp.clip(pixel, -1e6, 1e6).astype(jnp.int32)


def _offsets(reach: int) -> Int[Array, "K 2"]:
  """Pixel steps of the window, (x, y)."""
  steps = jnp.arange(-reach, reach + 1)
  x, y = jnp.meshgrid(steps, steps)
  return jnp.stack([x.ravel(), y.ravel()], axis=-1)
