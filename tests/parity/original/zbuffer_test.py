import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.original import cameras, zbuffer

_SIZE = (5, 7)


def _reference(points, colours, pose, matrix):
  """One point at a time, sums in the type of the colours."""
  height, width = _SIZE
  found = {}
  inverse = np.linalg.inv(pose)
  for point, colour in zip(points, colours):
    x, y, z = inverse[:3, :3] @ point + inverse[:3, 3]
    u = matrix[0, 0] * x / z + 0.5
    v = matrix[1, 1] * y / z + 0.5
    if z < 0 or not (0 <= u <= 1 and 0 <= v <= 1):
      continue
    cell = min(int(v * height), height - 1), min(int(u * width), width - 1)
    found.setdefault(cell, []).append((z, colour))
  image = np.zeros((height, width, 3), colours.dtype)
  for cell, hits in found.items():
    nearest = min(z for z, _ in hits)
    # Tied points were made with one z; their differences are rounding.
    front = [colour for z, colour in hits if z < nearest + 1e-6]
    total = np.sum(front, axis=0, dtype=colours.dtype)
    if colours.dtype == np.uint8:
      image[cell] = total // len(front)
    else:
      image[cell] = total / len(front)
  return image


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_equals_one_point_at_a_time(dtype):
  rng = np.random.default_rng(0)
  points = rng.uniform([-2, -2, -1], [2, 2, 4], (120, 3)).astype(np.float32)
  points[60:90, 2] = 2.0  # Ties, of which many share a pixel.
  colours = rng.integers(0, 256, (120, 3)).astype(dtype)
  pose = np.eye(4, dtype=np.float32)
  pose[:3, 3] = [0.25, -0.5, 0.0]  # Exact in float32, so ties stay ties.
  matrix = cameras.intrinsic_matrix((1.0, 1.25))
  image = zbuffer.render_points(
    jnp.asarray(points), jnp.asarray(colours), jnp.asarray(pose), matrix, _SIZE
  )
  expected = _reference(
    points.astype(np.float64), colours, pose.astype(np.float64), matrix
  )
  # Float32 sums of up to a few colours.
  np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_black_surfaces_are_holes():
  image = jnp.asarray([[[0, 0, 0], [0, 1, 0]]], jnp.uint8)
  np.testing.assert_array_equal(zbuffer.black_pixels(image), [[True, False]])


def test_borders_belong_to_the_picture():
  # x / z is -0.5 and 0.5 exactly: u is 0 and 1.
  points = jnp.asarray([[-1.0, 0.0, 2.0], [1.0, 0.0, 2.0]])
  colours = jnp.asarray([[9.0, 0, 0], [0, 9.0, 0]])
  matrix = cameras.intrinsic_matrix((1.0, 1.0))
  image = zbuffer.render_points(points, colours, jnp.eye(4), matrix, _SIZE)
  np.testing.assert_array_equal(image[2, 0], [9, 0, 0])
  np.testing.assert_array_equal(image[2, 6], [0, 9, 0])
