import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import cameras


def _pose(seed):
  rng = np.random.default_rng(seed)
  rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
  rotation *= np.sign(np.linalg.det(rotation))
  pose = np.eye(4)
  pose[:3, :3], pose[:3, 3] = rotation, rng.normal(size=3)
  return pose.astype(np.float32)


def test_unproject_then_project_gives_pixel_centres():
  depth = np.random.default_rng(0).uniform(0.1, 100.0, (2, 5, 7))
  intrinsics = jnp.asarray([[6.0, 7.0, 3.1, 2.7], [9.0, 8.0, 3.5, 2.5]])
  points = cameras.unproject(jnp.asarray(depth, jnp.float32), intrinsics)
  xy, z = cameras.project(points, intrinsics)
  columns, rows = np.meshgrid(np.arange(7) + 0.5, np.arange(5) + 0.5)
  expected = np.stack([columns, rows], axis=-1)
  np.testing.assert_allclose(xy, np.stack([expected] * 2), atol=2e-5)
  np.testing.assert_allclose(z, depth, rtol=1e-6)


def test_project_matches_the_calibration_matrix():
  point = np.asarray([0.3, -0.2, 2.0], np.float32)
  matrix = np.asarray([[50, 0, 20], [0, 60, 10], [0, 0, 1.0]])
  expected = matrix @ point
  xy, z = cameras.project(
    jnp.asarray(point), jnp.asarray([50.0, 60.0, 20.0, 10.0])
  )
  np.testing.assert_allclose(xy, expected[:2] / expected[2], rtol=1e-6)
  assert float(z) == 2.0


def test_invert_pose_is_the_inverse_and_transform_applies_a_matrix():
  pose = _pose(1)
  inverse = cameras.invert_pose(jnp.asarray(pose))
  np.testing.assert_allclose(inverse, np.linalg.inv(pose), atol=1e-6)
  points = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
  expected = np.concatenate([points, np.ones((4, 1))], axis=1) @ pose.T
  moved = cameras.transform(jnp.asarray(points), jnp.asarray(pose))
  np.testing.assert_allclose(moved, expected[:, :3], atol=1e-6)
  batched = cameras.transform(
    jnp.asarray(np.stack([points, points])),
    jnp.asarray(np.stack([pose, np.eye(4, dtype=np.float32)])),
  )
  np.testing.assert_allclose(batched[0], moved, atol=1e-6)
  np.testing.assert_array_equal(batched[1], points)


def test_rescaled_camera_sees_the_same_directions():
  intrinsics = jnp.asarray([40.0, 50.0, 31.0, 17.0])
  bigger = cameras.rescale_intrinsics(intrinsics, (36, 64), (72, 32))
  point = jnp.asarray([0.4, -0.1, 1.5])
  xy, _ = cameras.project(point, intrinsics)
  scaled, _ = cameras.project(point, bigger)
  np.testing.assert_allclose(scaled, xy * jnp.asarray([0.5, 2.0]), rtol=1e-6)


@pytest.mark.parametrize("fov", [30.0, 55.0, 90.0])
def test_default_intrinsics_see_the_field_of_view(fov):
  fx, fy, cx, cy = cameras.default_intrinsics(48, 64, fov)
  assert float(fx) == float(fy)
  assert (float(cx), float(cy)) == (32.0, 24.0)
  angle = np.degrees(2 * np.arctan(32.0 / float(fx)))
  np.testing.assert_allclose(angle, fov, rtol=1e-5)


def test_pluecker_rays_pass_through_the_points_they_see():
  intrinsics = jnp.asarray([[6.0, 7.0, 3.5, 2.5]])
  pose = jnp.asarray(_pose(3))[None]
  rays = cameras.pluecker_rays(intrinsics, pose, 5, 7)
  direction, moment = np.split(np.asarray(rays), 2, axis=-1)
  np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, atol=1e-6)
  depth = jnp.full((1, 5, 7), 3.0)
  points = cameras.transform(cameras.unproject(depth, intrinsics), pose)
  # A point on the line satisfies point x direction = moment.
  np.testing.assert_allclose(np.cross(points, direction), moment, atol=1e-5)
