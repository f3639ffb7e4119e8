import jax.numpy as jnp
import numpy as np
import scipy.spatial.transform

from more4d_jax.rendering import gaussians

# Float32 rounding of values near 1.
_ROUNDING = 1e-6


def test_rotation_is_that_of_scipy():
  rng = np.random.default_rng(0)
  quaternion = rng.normal(size=(9, 4))
  expected = scipy.spatial.transform.Rotation.from_quat(quaternion).as_matrix()
  found = gaussians.rotation(jnp.asarray(quaternion, jnp.float32))
  np.testing.assert_allclose(found, expected, atol=_ROUNDING)


def test_covariance_has_the_squared_scales_as_eigenvalues():
  rng = np.random.default_rng(1)
  scale = np.sort(rng.uniform(0.1, 2, (5, 3)), axis=-1).astype(np.float32)
  quaternion = rng.normal(size=(5, 4)).astype(np.float32)
  found = gaussians.covariance(jnp.asarray(scale), jnp.asarray(quaternion))
  np.testing.assert_allclose(
    np.linalg.eigvalsh(found), scale**2, rtol=1e-4, atol=_ROUNDING
  )
  turn = np.asarray(gaussians.rotation(jnp.asarray(quaternion)))
  # Its axes are the turned ones: each column is an eigenvector.
  np.testing.assert_allclose(
    np.asarray(found) @ turn, turn * scale[:, None] ** 2, atol=1e-5
  )


def test_field_of_view_of_two_focal_lengths():
  matrix = jnp.asarray([[1.0, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]])
  expected = 2 * np.arctan(0.5 / np.asarray([1.0, 1.3]))
  np.testing.assert_allclose(
    gaussians.field_of_view(matrix), expected, atol=1e-5
  )


def test_perspective_maps_the_frustum_to_the_unit_box():
  near, far = jnp.asarray([0.5]), jnp.asarray([100.0])
  fov = jnp.asarray([[0.9, 0.7]])
  matrix = np.asarray(gaussians.perspective(near, far, fov))[0]
  tangent = np.tan(np.asarray([0.9, 0.7]) / 2)
  for depth, expected in ((0.5, 0.0), (100.0, 1.0)):
    corner = matrix @ [*(depth * tangent), depth, 1.0]
    np.testing.assert_allclose(
      corner[:3] / corner[3], [1, 1, expected], atol=1e-5
    )
