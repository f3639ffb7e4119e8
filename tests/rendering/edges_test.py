import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from more4d_jax.geometry import cameras
from more4d_jax.rendering import edges, render_video, zbuffer

_SIZE = (48, 64)


def _floor(height=_SIZE[0], width=_SIZE[1]):
  """Depth of a floor that reaches nearly to the horizon."""
  rows = np.arange(height)[:, None] + 1.0
  return np.broadcast_to(40.0 / rows, (height, width)).astype(np.float32)


def _step(blur=0.0):
  """A near disc before a wall; its outline may be soft."""
  y, x = np.mgrid[: _SIZE[0], : _SIZE[1]] + 0.5
  near = (y - 24) ** 2 + (x - 30) ** 2 < 12**2
  inverse = np.where(near, 1 / 1.5, 1 / 4.0)
  if blur:
    inverse = scipy.ndimage.gaussian_filter(inverse, blur)
  return (1 / inverse).astype(np.float32), near


def _first(depth):
  intrinsics = cameras.default_intrinsics(*depth.shape)
  points = cameras.unproject(jnp.asarray(depth)[None], intrinsics[None])[0]
  return points, np.asarray(intrinsics)


def test_a_floor_is_one_surface():
  depth = _floor()
  for turned in (depth, depth.T, depth[::-1]):
    found = edges.find(_first(np.ascontiguousarray(turned))[0], 0.05)
    assert not edges.on_ramp(1 / jnp.asarray(turned), 0.05).any()
    assert found.right[:, :-1].all() and found.down[:-1].all()


def test_a_sharp_step_has_no_ramp_and_breaks_the_surface():
  depth, near = _step()
  assert not edges.on_ramp(1 / jnp.asarray(depth), 0.05).any()
  found = edges.find(_first(depth)[0], 0.05)
  np.testing.assert_array_equal(
    np.asarray(found.right)[:, :-1], near[:, 1:] == near[:, :-1]
  )
  np.testing.assert_array_equal(
    np.asarray(found.down)[:-1], near[1:] == near[:-1]
  )


@pytest.mark.parametrize("blur", [0.6, 1.0])
def test_points_of_a_ramp_go_to_a_side_of_it(blur):
  depth, near = _step(blur)
  points, _ = _first(depth)
  found = edges.find(points, 0.05)
  moved = np.asarray(found.first)
  between = (depth > 1.7) & (depth < 3.3)
  left = (moved[..., 2] > 1.7) & (moved[..., 2] < 3.3)
  assert between.sum() > 60
  assert left.sum() < between.sum() / 10
  # They stay on their rays, and most go to the side that is truly theirs.
  rays = np.asarray(points) / depth[..., None]
  np.testing.assert_allclose(moved / moved[..., 2:], rays, atol=1e-5)
  true = np.where(near, 1.5, 4.0)
  assert (np.abs(moved[..., 2] - true) < 0.4)[between].mean() > 0.7


def test_points_move_with_the_surface_they_went_to():
  depth, _ = _step(0.8)
  points, _ = _first(depth)
  found = edges.find(points, 0.05)
  near = np.asarray(found.first[..., 2]) < 2.5
  speed = jnp.where(depth < 1.6, 0.3, 0.0)[..., None]
  moved = np.asarray(found.move(points + speed) - found.first)[..., 0]
  kept = np.asarray(found.kept)
  core = scipy.ndimage.binary_erosion(near, iterations=4)
  np.testing.assert_allclose(moved[core], 0.3, atol=1e-5)
  np.testing.assert_allclose(moved[~near & kept], 0.0, atol=1e-5)


def test_no_threshold_leaves_everything_as_it_is():
  points, _ = _first(_step(0.8)[0])
  found = edges.find(points, 0.0)
  np.testing.assert_array_equal(found.move(points), points)
  assert found.right[:, :-1].all() and found.down[:-1].all()


def _specks(coverage):
  """Number of covered pixels that stand alone or nearly so."""
  beside = scipy.ndimage.convolve(
    coverage.astype(int), np.ones((3, 3), int), mode="nearest"
  )
  return int((coverage & (beside <= 4)).sum())


def test_specks_in_disocclusions_fall_and_coverage_stays():
  depth, _ = _step(1.0)
  points, intrinsics = _first(depth)
  pose = np.eye(4, dtype=np.float32)
  pose[0, 3] = 0.6
  colours = np.full((*_SIZE, 3), 128, np.uint8)
  _, coverage = render_video.render_video(
    np.asarray(points)[None], colours, pose[None], intrinsics
  )
  # The same points where they are, each as large as its pixel.
  _, _, before = zbuffer.render_points(
    points.reshape(-1, 3),
    jnp.zeros((points[..., 0].size, 3)),
    jnp.asarray(pose),
    jnp.asarray(intrinsics),
    *_SIZE,
    footprint=(0.7 * points[..., 2:] / intrinsics[:2]).reshape(-1, 2),
  )
  before = np.asarray(before)
  assert _specks(before) > 50
  assert _specks(coverage[0]) <= _specks(before) / 5
  assert coverage.mean() > before.mean() - 0.04
