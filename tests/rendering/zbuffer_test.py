import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import camera_paths
from more4d_jax.rendering import surfels, zbuffer


def _reference(points, colours, pose, intrinsics, size, footprint):
  """One point and one pixel at a time, in float64."""
  height, width = size
  fx, fy, cx, cy = intrinsics
  inverse = np.linalg.inv(pose.astype(np.float64))
  depth = np.full(size, np.inf)
  hits = [[[] for _ in range(width)] for _ in range(height)]
  for index, point in enumerate(points.astype(np.float64)):
    if not np.isfinite(point).all():
      continue
    x, y, z = inverse[:3, :3] @ point + inverse[:3, 3]
    if z <= 1e-6:
      continue
    px, py = fx * x / z + cx, fy * y / z + cy
    half = footprint[index] * [fx, fy] / z
    for row in range(height):
      for col in range(width):
        own = row == np.floor(py) and col == np.floor(px)
        near = abs(col + 0.5 - px) <= half[0] and abs(row + 0.5 - py) <= half[1]
        if own or near:
          hits[row][col].append((z, index))
          depth[row, col] = min(depth[row, col], z)
  image = np.zeros((height, width, 3))
  for row in range(height):
    for col in range(width):
      front = [
        i
        for z, i in hits[row][col]
        if np.isclose(z, depth[row, col], rtol=1e-6)
      ]
      if front:
        image[row, col] = colours[front[0]]
  return image, depth, np.isfinite(depth)


def _cloud(seed, largest, count=150):
  rng = np.random.default_rng(seed)
  points = rng.uniform([-2, -1.5, -1], [2, 1.5, 5], (count, 3))
  points[3], points[4, 1] = np.nan, np.inf
  # Two points at the same place share their pixel.
  points[6] = points[5] = [0.1, 0.1, 0.4]
  colours = rng.uniform(0, 1, (count, 3))
  # Most are small, a few span many pixels.
  footprint = largest * rng.uniform(0, 1, (count, 2)) ** 4
  return (a.astype(np.float32) for a in (points, colours, footprint))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("largest", [0.0, 0.05, 0.5])
def test_matches_a_loop_over_points_and_pixels(seed, largest):
  points, colours, footprint = _cloud(seed, largest)
  centre = np.asarray([0, 0, 3.0], np.float32)
  pose = camera_paths.named_path("orbit_left_90", 4, centre)[seed]
  intrinsics = np.asarray([14.0, 12.0, 9.7, 6.1], np.float32)
  got = zbuffer.render_points(
    jnp.asarray(points),
    jnp.asarray(colours),
    jnp.asarray(pose),
    jnp.asarray(intrinsics),
    13,
    19,
    footprint=jnp.asarray(footprint) if largest else None,
  )
  expected = _reference(points, colours, pose, intrinsics, (13, 19), footprint)
  assert 0.05 < expected[2].mean() <= 1
  np.testing.assert_array_equal(got[2], expected[2])
  np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)
  np.testing.assert_allclose(got[0], expected[0], atol=1e-5)


def _one(point, **kwargs):
  return zbuffer.render_points(
    jnp.asarray([point], jnp.float32),
    jnp.zeros((1, 3)),
    jnp.eye(4),
    jnp.asarray([4.0, 4.0, 2.0, 2.0]),
    4,
    4,
    **kwargs,
  )


def test_a_black_point_covers_its_pixel():
  colour, depth, coverage = _one([0.125, -0.125, 1.0])
  np.testing.assert_array_equal(colour, 0)
  np.testing.assert_array_equal(np.argwhere(coverage), [[1, 2]])
  assert float(depth[1, 2]) == 1.0


def test_far_edges_belong_to_the_last_pixel_and_beyond_is_outside():
  assert bool(_one([0.5, 0.5, 1.0])[2][3, 3])
  for outside in (
    [0.51, 0.0, 1.0],
    [-0.51, 0.0, 1.0],
    [0.0, 0.0, -1.0],
    [0.0, 0.0, 0.0],
    [1e30, 0.0, 1.0],
  ):
    assert not bool(_one(outside)[2].any())


def test_a_footprint_spans_its_metric_size():
  middle = [0.125, 0.125, 1.0]  # The centre of pixel (2, 2).
  for metres, covered in ((0.1, 1), (0.3, 9), (9.0, 16)):
    footprint = jnp.full((1, 2), metres)
    assert int(_one(middle, footprint=footprint)[2].sum()) == covered


def test_large_points_are_drawn_in_several_portions(monkeypatch):
  rng = np.random.default_rng(0)
  points = rng.uniform([-1, -1, 1], [1, 1, 3], (70, 3)).astype(np.float32)
  footprint = rng.uniform(0, 0.8, (70, 2)).astype(np.float32)
  intrinsics = jnp.asarray([20.0, 20.0, 10.0, 10.0])
  x, y, z = surfels.project(jnp.asarray(points), jnp.eye(4), intrinsics)
  tiles = surfels.facing(x, y, z, jnp.asarray(footprint), intrinsics)
  whole = zbuffer.front_points(tiles, 20, 20, 1.0)
  monkeypatch.setattr(zbuffer, "_PORTION", 37)
  monkeypatch.setattr(zbuffer, "_TILES", 5)
  parts = zbuffer.front_points(tiles, 20, 20, 1.0)
  assert len(np.unique(whole)) > 10
  np.testing.assert_array_equal(parts, whole)


def test_a_tile_is_a_parallelogram():
  one = jnp.ones(1)
  # One step along u is (6, 6) pixels, one along v (-2, 2).
  tiles = surfels.Surfels(
    10.5 * one, 10.5 * one, one, (6 * one, 6 * one, -2 * one, 2 * one)
  )
  index = np.asarray(zbuffer.front_points(tiles, 21, 21, 0.51))
  y, x = np.mgrid[:21, :21] - 10
  along, across = (x + y) / 12, (y - x) / 4
  expected = np.maximum(abs(along), abs(across)) <= 0.51
  assert expected.sum() > 20
  np.testing.assert_array_equal(index == 0, expected)
