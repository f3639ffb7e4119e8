import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import cameras_compat


@pytest.mark.parametrize(
  ("source", "size", "expected"),
  [  # The table of docs/method/trajectories.md#camera-factors.
    ((720, 960), (368, 512), (1.0434782608695652, 1.0)),
    ((720, 960), (384, 512), (1.0, 1.0)),
    ((540, 960), (368, 512), (1.0, 1.2777777777777777)),
    ((540, 960), (384, 512), (1.0, 1.3333333333333333)),
  ],
)
def test_alpha_of_the_published_sizes(source, size, expected):
  found = cameras_compat.aspect_alpha(source, size)
  np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_lift_is_the_inverse_of_the_intrinsics():
  matrix = np.array([[1.2, 0, 0.5], [0, 0.8, 0.4], [0, 0, 1]], np.float32)
  position = np.array([[0.1, 0.9], [0.5, 0.4], [-1.0, 2.0]], np.float32)
  depth = np.array([2.0, 3.0, 0.5], np.float32)
  points = cameras_compat.lift(*map(jnp.asarray, (position, depth, matrix)))
  x, y, z = np.asarray(points).T
  np.testing.assert_allclose(z, depth)
  np.testing.assert_allclose(1.2 * x / z + 0.5, position[:, 0], atol=1e-6)
  np.testing.assert_allclose(0.8 * y / z + 0.4, position[:, 1], atol=1e-6)
