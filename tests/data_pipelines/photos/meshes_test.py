"""Surfaces against rays and triangles intersected one by one."""

import numpy as np

from data_pipelines.photos import meshes


def intersect(points, triangles, directions):
  """Depth of the first hit of each ray from the origin (Moeller, Trumbore)."""
  best = np.full(len(directions), np.inf)
  for triangle in triangles:
    a, b, c = points[triangle]
    first, second = b - a, c - a
    normal = np.cross(directions, second)
    scale = normal @ first
    with np.errstate(divide="ignore", invalid="ignore"):
      u = -(normal @ a) / scale
      q = np.cross(-a, first)
      v = (directions @ q) / scale
      t = (second @ q) / scale
    met = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    best = np.where(met & (t < best), t, best)
  return best


def surface(rng, shape, focal, far):
  rows, columns = np.indices(shape) + 0.5
  x = (columns - shape[1] / 2) / focal
  y = (rows - shape[0] / 2) / focal
  depth = far + rng.uniform(-0.3, 0.3, shape)
  return (np.stack([x, y, np.ones(shape)], -1) * depth[..., None]).reshape(
    -1, 3
  )


def test_rays_meet_what_they_meet_one_by_one():
  rng = np.random.default_rng(0)
  shape, size = (7, 9), (13, 17)
  intrinsics = np.array([14.0, 15.0, 8.2, 6.4])
  shown = np.ones(shape, bool)
  found = [meshes.Mesh(shown), meshes.Mesh(shown)]
  points = [surface(rng, shape, 8.0, far) for far in (3.0, 2.0)]
  points[1] = points[1] * [0.5, 0.4, 1] + [0.2, 0.1, 0]
  points[1][5] += [3.0, 2.0, 0]  # One triangle fan over half the picture.
  sight = meshes.look(found, points, intrinsics, size)
  rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
  directions = np.stack(
    [
      (columns - intrinsics[2]) / intrinsics[0],
      (rows - intrinsics[3]) / intrinsics[1],
      np.ones(size),
    ],
    -1,
  ).reshape(-1, 3)
  wanted = np.stack(
    [intersect(p, m.triangles, directions) for p, m in zip(points, found)]
  )
  np.testing.assert_allclose(sight.depth.ravel(), wanted.min(0), rtol=1e-9)
  met = np.isfinite(wanted.min(0))
  assert 0 < met.sum() < met.size
  np.testing.assert_array_equal(
    sight.layer.ravel(), np.where(met, wanted.argmin(0), -1)
  )


def test_a_surface_seen_as_it_was_made_is_the_picture():
  rng = np.random.default_rng(1)
  shape, focal = (8, 10), 9.0
  shown = rng.random(shape) < 0.7
  mesh = meshes.Mesh(shown)
  points = surface(rng, shape, focal, 4.0)
  intrinsics = np.array([focal, focal, 5.0, 4.0])
  sight = meshes.look([mesh], [points], intrinsics, shape)
  np.testing.assert_array_equal(sight.layer >= 0, shown)
  depth = points[:, 2].reshape(shape)
  np.testing.assert_allclose(sight.depth[shown], depth[shown], rtol=1e-9)
  rows, columns = np.indices(shape) + 0.5
  np.testing.assert_allclose(
    sight.place[shown], np.stack([columns, rows], -1)[shown], atol=1e-9
  )
  # Four rays a pixel: a pixel is shown as a square, to its edges.
  four = meshes.look([mesh], [points], 2 * intrinsics, (16, 20))
  inner = np.zeros((16, 20), bool)
  inner[1:-1, 1:-1] = True
  wanted = shown.repeat(2, 0).repeat(2, 1)
  np.testing.assert_array_equal((four.layer >= 0)[inner], wanted[inner])


def test_colours_between_pixels_are_linear():
  rows, columns = np.mgrid[:6, :7] + 0.5
  colours = np.stack([columns, rows, columns + 2 * rows], -1)
  place = np.random.default_rng(0).uniform([0.5, 0.5], [6.5, 5.5], (50, 2))
  x, y = place.T
  np.testing.assert_allclose(
    meshes.sample(colours, place), np.stack([x, y, x + 2 * y], 1), atol=1e-12
  )
  outside = meshes.sample(colours, np.array([[-3.0, 2.5], [9.0, 2.5]]))
  np.testing.assert_allclose(outside[:, 0], [0.5, 6.5])
