import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from more4d_jax.geometry import cameras, cameras_compat
from tests.parity.original import cameras as original


def test_project_undoes_lift():
  rng = np.random.default_rng(0)
  matrix = original.intrinsic_matrix((1.0, 1.3))
  position = rng.uniform(-1, 2, (40, 2)).astype(np.float32)
  depth = rng.uniform(0.5, 9, 40).astype(np.float32)
  points = cameras_compat.lift(
    jnp.asarray(position), jnp.asarray(depth), matrix
  )
  again, z = original.project(points, matrix)
  np.testing.assert_allclose(z, depth)
  np.testing.assert_allclose(again, position, atol=1e-6)  # Float32 rounding.


def test_points_at_depth_zero_stay_finite():
  matrix = original.intrinsic_matrix((1.0, 1.0))
  points = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [np.nan, 1, 1]])
  position, _ = original.project(points, matrix)
  # The third coordinate is z / (z + epsilon): the centre counts by it.
  expected = [[1 / np.finfo(np.float32).eps, 0], [0, 0], [0.5, 1.5]]
  np.testing.assert_allclose(position, expected, rtol=1e-6)


def test_unproject_resizes_and_reaches_the_borders():
  rng = np.random.default_rng(1)
  depth = rng.uniform(1, 5, (1, 6, 9)).astype(np.float32)
  size, alpha = (8, 12), (1.0, 1.25)
  points = np.asarray(original.unproject(jnp.asarray(depth), size, alpha))
  # Half-pixel sampling, edges repeated: what scipy calls "nearest".
  rows = (np.arange(8) + 0.5) * 6 / 8 - 0.5
  columns = (np.arange(12) + 0.5) * 9 / 12 - 0.5
  expected = scipy.ndimage.map_coordinates(
    depth[0], np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"
  )
  np.testing.assert_allclose(points[0, ..., 2], expected, rtol=1e-5)
  x, y, z = np.moveaxis(points[0], -1, 0)
  np.testing.assert_allclose(
    alpha[0] * x / z + 0.5, np.tile(np.linspace(0, 1, 12), (8, 1)), atol=1e-6
  )
  np.testing.assert_allclose(
    alpha[1] * y / z + 0.5, np.linspace(0, 1, 8)[:, None] + 0 * x, atol=1e-6
  )


def _poses(count):
  angle = 0.1 * np.arange(count)
  poses = np.tile(np.eye(4), (count, 1, 1))
  poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angle)
  poses[:, 0, 2], poses[:, 2, 0] = np.sin(angle), -np.sin(angle)
  poses[:, :3, 3] = 0.2 * np.arange(count)[:, None] + [0.3, -0.1, 0.5]
  return poses.astype(np.float32)


@pytest.mark.parametrize("count", [2, 3])
def test_pluecker_rays(count):
  camera_from_world = _poses(count)
  size = (4, 6)  # Narrower than 1280 x 720: x is widened.
  intrinsics = np.tile(np.float32([0.7, 1.2, 0.5, 0.5]), (count, 1))
  rays = original.pluecker_rays(
    jnp.asarray(intrinsics), jnp.asarray(camera_from_world), size
  )
  focal = 0.7 * (1280 / 720) / (6 / 4)
  x = ((np.arange(6) + 0.5) / 6 - 0.5) / focal
  y = ((np.arange(4) + 0.5) / 4 - 0.5) / 1.2
  seen = np.stack(np.broadcast_arrays(x, y[:, None], 1.0), axis=-1)
  seen /= np.linalg.norm(seen, axis=-1, keepdims=True)
  poses = camera_from_world[0] @ np.linalg.inv(camera_from_world)
  direction = np.einsum("tij,hwj->thwi", poses[:, :3, :3], seen)
  origin = np.broadcast_to(poses[:, None, None, :3, 3], direction.shape)
  np.testing.assert_allclose(rays[..., 3:], direction, atol=1e-6)
  axis = 0 if count == 3 else -1
  moment = np.cross(origin, direction, axis=axis)
  np.testing.assert_allclose(rays[..., :3], moment, atol=1e-6)
  if count == 2:  # Then it is our own, in the other order.
    ours = cameras.pluecker_rays(
      jnp.asarray(
        intrinsics * np.float32([6, 4, 6, 4]) * [focal / 0.7, 1, 1, 1]
      ),
      jnp.asarray(poses),
      *size,
    )
    np.testing.assert_allclose(rays, np.roll(ours, 3, axis=-1), atol=1e-6)
