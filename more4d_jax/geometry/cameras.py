"""Pinhole cameras: x right, y down, z forward, pixel centres at + 0.5.

Intrinsics are (fx, fy, cx, cy) in pixels along the last axis. A pose
`target_from_source` is a 4x4 rigid transform.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def unproject(
  depth: Float[Array, "B H W"], intrinsics: Float[Array, "B 4"]
) -> Float[Array, "B H W 3"]:
  """Lifts a z-depth map to camera-space points.

  Args:
    depth: metres, positive where valid.
    intrinsics: (fx, fy, cx, cy) in pixels.

  Returns:
    Points in metres; x right, y down, z forward.

  Source: pinhole model. Differs from the original: pixel centres, not corners
  (docs/method/conditioning.md#back-projection).
  """
  _, height, width = depth.shape
  fx, fy, cx, cy = jnp.moveaxis(intrinsics, -1, 0)[..., None, None]
  x = (jnp.arange(width) + 0.5 - cx) / fx
  y = (jnp.arange(height)[:, None] + 0.5 - cy) / fy
  return jnp.stack([x * depth, y * depth, depth], axis=-1)


def project(
  points: Float[Array, "*P 3"], intrinsics: Float[Array, "*K 4"]
) -> tuple[Float[Array, "*P 2"], Float[Array, "*P"]]:
  """Projects camera-space points to continuous pixel coordinates.

  Args:
    points: metres, in the camera's frame.
    intrinsics: (fx, fy, cx, cy) in pixels; the leading axes are those of one
      camera ([4]) or the first ones of `points` ([B 4] with [B H W 3]).

  Returns:
    (x, y) in pixels, and z in metres. A point with z = 0 gives a non-finite
    position, one behind the camera a mirrored one: check z.
  """
  missing = points.ndim - intrinsics.ndim
  shape = (*intrinsics.shape[:-1], *(1,) * missing, 4)
  fx, fy, cx, cy = jnp.moveaxis(intrinsics.reshape(shape), -1, 0)
  x, y, z = jnp.moveaxis(points, -1, 0)
  return jnp.stack([fx * x / z + cx, fy * y / z + cy], axis=-1), z


def rescale_intrinsics(
  intrinsics: Float[Array, "*B 4"], size: tuple[int, int], new: tuple[int, int]
) -> Float[Array, "*B 4"]:
  """Intrinsics of the same camera after its image was resized.

  Args:
    intrinsics: (fx, fy, cx, cy) in pixels at `size`.
    size: (H, W) they belong to.
    new: (H, W) of the resized image.
  """
  y, x = new[0] / size[0], new[1] / size[1]
  return intrinsics * jnp.asarray([x, y, x, y], intrinsics.dtype)


def default_intrinsics(
  height: int, width: int, fov_x_degrees: float = 55.0
) -> Float[Array, "4"]:
  """A camera with square pixels and a central principal point."""
  focal = width / 2 / math.tan(math.radians(fov_x_degrees) / 2)
  return jnp.asarray([focal, focal, width / 2, height / 2], jnp.float32)


def invert_pose(pose: Float[Array, "*B 4 4"]) -> Float[Array, "*B 4 4"]:
  """`source_from_target` of a rigid `target_from_source`; exact transpose."""
  rotation = jnp.swapaxes(pose[..., :3, :3], -1, -2)
  position = -jnp.einsum("...ij,...j->...i", rotation, pose[..., :3, 3])
  top = jnp.concatenate([rotation, position[..., None]], axis=-1)
  return jnp.concatenate([top, pose[..., 3:, :]], axis=-2)


def transform(
  points: Float[Array, "*P 3"], pose: Float[Array, "*K 4 4"]
) -> Float[Array, "*P 3"]:
  """Moves points by a pose whose leading axes are the first ones of `points`.

  Written as products and sums, not as a matrix product, so that accelerators
  keep float32 precision; an identity pose returns the points unchanged.
  """
  batch = pose.shape[:-2]
  ones = (1,) * (points.ndim - 1 - len(batch))
  pose = pose.reshape(*batch, *ones, 4, 4)
  x, y, z = points[..., :1], points[..., 1:2], points[..., 2:]
  column = [pose[..., :3, i] for i in range(4)]
  return column[0] * x + column[1] * y + column[2] * z + column[3]


def pluecker_rays(
  intrinsics: Float[Array, "B 4"],
  world_from_camera: Float[Array, "B 4 4"],
  height: int,
  width: int,
) -> Float[Array, "B H W 6"]:
  """Ray of every pixel as (unit direction, origin x direction) in the world."""
  ones = jnp.ones((intrinsics.shape[0], height, width), jnp.float32)
  points = transform(unproject(ones, intrinsics), world_from_camera)
  origin = world_from_camera[:, None, None, :3, 3]
  direction = points - origin
  direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True)
  return jnp.concatenate([direction, jnp.cross(origin, direction)], axis=-1)
