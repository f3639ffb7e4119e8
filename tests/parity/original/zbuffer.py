"""Point rendering exactly as the original computes it, faults included.

Differences from the library's `zbuffer`:
positions pass through a z with an epsilon, means of 8-bit colours wrap
around, and black surfaces count as holes.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from more4d_jax.geometry import cameras
from tests.parity.original import cameras as original


@functools.partial(jax.jit, static_argnames=("size",))
def render_points(
  points: Float[Array, "P 3"],
  colours: Float[Array, "P 3"] | UInt8[Array, "P 3"],
  world_from_camera: Float[Array, "4 4"],
  matrix: Float[Array, "3 3"],
  size: tuple[int, int],
) -> Float[Array, "H W 3"] | UInt8[Array, "H W 3"]:
  """Mean colour of the nearest points of each pixel, 0 where there is none.

  Args:
    points: metres, in the world.
    colours: in 0 to 255. As uint8 their sum wraps around at 256 before it is
      divided by their number and cut.
    world_from_camera: pose of the camera.
    matrix: intrinsics in units of the image size.
    size: (H, W) of the picture.

  Source: docs/method/rendering.md#z-buffer.
  """
  height, width = size
  seen = cameras.transform(points, cameras.invert_pose(world_from_camera))
  position, z = original.project(seen, matrix)
  kept = jnp.all((position >= 0) & (position <= 1), axis=-1) & (z >= 0)
  limit = jnp.asarray([width, height])
  cell = jnp.floor(jnp.where(kept[:, None], position, 0) * limit)
  cell = jnp.minimum(cell.astype(jnp.int32), limit - 1)
  index = jnp.where(kept, cell[:, 1] * width + cell[:, 0], height * width)
  nearest = jax.ops.segment_min(z, index, height * width + 1)
  index = jnp.where(z == nearest[index], index, height * width)
  total = jax.ops.segment_sum(colours, index, height * width + 1)
  count = jax.ops.segment_sum(jnp.ones_like(index), index, height * width + 1)
  count = jnp.maximum(count, 1)[:, None]
  if colours.dtype == jnp.uint8:
    mean = (total.astype(jnp.int32) // count).astype(jnp.uint8)
  else:
    mean = total / count
  return mean[:-1].reshape(height, width, 3)


def black_pixels(
  picture: Float[Array, "*P 3"] | UInt8[Array, "*P 3"],
) -> Bool[Array, "*P"]:
  """The original's hole mask: True where the colours add up to 0."""
  return jnp.sum(picture.astype(jnp.float32), axis=-1) == 0
