"""Cameras as the original computes with them.

Its intrinsics are a 3x3 matrix in units of the image size, positions run from
0 to 1, and the first and last pixels of a grid lie on the image's borders.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.geometry import cameras, cameras_compat

_FAR = 1e8  # Position of a point at depth 0.


def intrinsic_matrix(alpha: tuple[float, float]) -> Float[Array, "3 3"]:
  """The camera of two focal lengths, its principal point in the middle."""
  ax, ay = alpha
  rows = [[ax, 0.0, 0.5], [0.0, ay, 0.5], [0.0, 0.0, 1.0]]
  return jnp.asarray(rows, jnp.float32)


def project(
  points: Float[Array, "*P 3"], matrix: Float[Array, "3 3"]
) -> tuple[Float[Array, "*P 2"], Float[Array, "*P"]]:
  """Projects camera-space points to positions in [0, 1], and gives their z.

  Always finite: a machine epsilon is added to z, and what is infinite still
  becomes 1e8. Source: docs/method/rendering.md#z-buffer.
  """
  z = points[..., 2]
  # One quotient at a time: a compiler may turn many by one divisor into
  # products with its inverse, which moves points off the picture's borders.
  divisor = z + jnp.finfo(jnp.float32).eps
  scaled = jnp.stack([points[..., i] / divisor for i in range(3)], axis=-1)
  scaled = jnp.nan_to_num(scaled, nan=0.0, posinf=_FAR, neginf=-_FAR)
  position = sum(matrix[:, i] * scaled[..., i : i + 1] for i in range(3))
  return position[..., :2], z


def unproject(
  depth: Float[Array, "B h w"], size: tuple[int, int], alpha: tuple
) -> Float[Array, "B H W 3"]:
  """Points of a depth map that is first resized linearly to `size` (H, W).

  Positions run from 0 at the first pixel to 1 at the last, so that points lie
  up to half a pixel off those of `cameras.unproject`.
  Source: docs/method/conditioning.md#back-projection.
  """
  shape = (depth.shape[0], *size)
  depth = jax.image.resize(depth, shape, "linear", antialias=False)
  x, y = jnp.linspace(0.0, 1.0, size[1]), jnp.linspace(0.0, 1.0, size[0])
  grid = jnp.stack(jnp.meshgrid(x, y), axis=-1)
  position = jnp.broadcast_to(grid, (*shape, 2))
  return cameras_compat.lift(position, depth, intrinsic_matrix(alpha))


def pluecker_rays(
  intrinsics: Float[Array, "T 4"],
  camera_from_world: Float[Array, "T 4 4"],
  size: tuple[int, int],
  source: tuple[int, int] = (720, 1280),
) -> Float[Array, "T H W 6"]:
  """Rays as (origin x direction, unit direction), seen from the first camera.

  The focal lengths of cameras whose pictures had the aspect of `source` are
  widened to that of `size`. With exactly three cameras the original takes the
  cross product along time instead of along x, y, z; so does this.

  Args:
    intrinsics: (fx, fy, cx, cy) in units of the image size.
    camera_from_world: poses.
    size: (H, W) of the rays' grid.
    source: (H, W) of the cameras' pictures.
  """
  height, width = size
  wider = (source[1] / source[0]) / (width / height)
  widen = [wider, 1.0] if wider > 1 else [1.0, 1.0 / wider]
  units = jnp.asarray([*widen, 1.0, 1.0]) * jnp.asarray(
    [width, height, width, height], jnp.float32
  )
  poses = cameras.invert_pose(camera_from_world)
  poses = jnp.matmul(camera_from_world[0], poses, precision="highest")
  rays = cameras.pluecker_rays(intrinsics * units, poses, height, width)
  direction = rays[..., :3]
  origin = jnp.broadcast_to(poses[:, None, None, :3, 3], direction.shape)
  axis = 0 if len(poses) == 3 else -1
  moment = jnp.cross(origin, direction, axis=axis)
  return jnp.concatenate([moment, direction], axis=-1)
