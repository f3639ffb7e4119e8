"""Points as Gaussians: covariances and the camera of a splatting renderer.

Source: docs/method/rendering.md#gaussian-splatting.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.geometry import cameras_compat


def rotation(quaternion: Float[Array, "*P 4"]) -> Float[Array, "*P 3 3"]:
  """Rotation of a quaternion (x, y, z, w) of any length but 0."""
  length = jnp.linalg.norm(quaternion, axis=-1, keepdims=True)
  x, y, z, w = jnp.moveaxis(quaternion / length, -1, 0)
  rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
  ]
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def covariance(
  scale: Float[Array, "*P 3"], quaternion: Float[Array, "*P 4"]
) -> Float[Array, "*P 3 3"]:
  """R diag(scale^2) R^T: standard deviations along the turned axes."""
  axes = rotation(quaternion) * scale[..., None, :]
  return jnp.einsum("...ij,...kj->...ik", axes, axes, precision="highest")


def field_of_view(matrix: Float[Array, "3 3"]) -> Float[Array, "2"]:
  """Angles (x, y) in radians between the middles of opposite borders.

  Args:
    matrix: intrinsics in units of the image size.
  """
  ends = jnp.asarray(
    [[[0.0, 0.5], [1.0, 0.5]], [[0.5, 0.0], [0.5, 1.0]]], jnp.float32
  )
  rays = cameras_compat.lift(ends, jnp.ones((2, 2)), matrix)
  rays /= jnp.linalg.norm(rays, axis=-1, keepdims=True)
  return jnp.arccos(jnp.sum(rays[:, 0] * rays[:, 1], axis=-1))


def perspective(
  near: Float[Array, "*B"], far: Float[Array, "*B"], fov: Float[Array, "*B 2"]
) -> Float[Array, "*B 4 4"]:
  """Maps camera space to a clip space with z in [0, 1].

  Args:
    near: depth that becomes 0, in metres.
    far: depth that becomes 1, in metres.
    fov: angles (x, y) in radians.
  """
  focal = 1 / jnp.tan(fov / 2)
  nothing, one = jnp.zeros_like(near), jnp.ones_like(near)
  depth = far / (far - near)
  rows = [
    [focal[..., 0], nothing, nothing, nothing],
    [nothing, focal[..., 1], nothing, nothing],
    [nothing, nothing, depth, -depth * near],
    [nothing, nothing, one, nothing],
  ]
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
