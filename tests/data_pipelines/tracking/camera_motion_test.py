"""Estimated camera motion against known poses."""

import numpy as np
import pytest
from scipy.spatial import transform

from data_pipelines.importers import geometry
from data_pipelines.tracking import camera_motion

pytest.importorskip("cv2", reason="OpenCV is the extra [track]")

_HEIGHT, _WIDTH, _FRAMES = 48, 64, 5
_INTRINSICS = np.array([60.0, 62.0, 31.5, 24.25])


def _points(rng):
  grid = geometry.pixel_grid(_HEIGHT, _WIDTH).reshape(1, -1, 2)
  depth = rng.uniform(2, 9, grid.shape[:2])
  return geometry.unproject(grid, depth, _INTRINSICS)[0]


def _poses(turn, step):
  share = np.linspace(0, 1, _FRAMES)[:, None]
  rotation = transform.Rotation.from_rotvec(share * turn).as_matrix()
  return geometry.rigid(rotation, share * step)


def _seen(points, poses):
  """Positions of points [N 3], or moving ones [T N 3], and whether inside."""
  points = np.broadcast_to(points, (_FRAMES, *points.shape[-2:]))
  own = geometry.transform(points, geometry.inverse(poses))
  positions = geometry.project(own, _INTRINSICS)
  inside = ((positions > 0) & (positions < [_WIDTH, _HEIGHT])).all(-1)
  return positions, inside & (own[..., 2] > 0)


@pytest.mark.parametrize(
  ("noise", "turned", "shifted"), [(0, 1e-6, 1e-5), (0.02, 1e-3, 0.01)]
)
def test_poses_are_found_though_a_third_of_the_picture_moves_by_itself(
  noise, turned, shifted
):
  rng = np.random.default_rng(0)
  points = _points(rng)
  poses = _poses(np.array([0.03, -0.08, 0.02]), np.array([0.4, -0.1, 0.3]))
  moving = np.tile(points, (_FRAMES, 1, 1))
  third = len(points) // 3
  moving[:, :third] += np.linspace(0, 1, _FRAMES)[:, None, None] * [0.5, 0.6, 0]
  positions, visible = _seen(moving, poses)
  positions += rng.normal(0, noise, positions.shape)
  points[-20:] = np.nan  # Sky.
  found = camera_motion.estimate(
    points, positions, visible, _INTRINSICS, _WIDTH
  )
  assert (found[0] == np.eye(4)).all()
  np.testing.assert_allclose(found[:, :3, :3], poses[:, :3, :3], atol=turned)
  np.testing.assert_allclose(found[:, :3, 3], poses[:, :3, 3], atol=shifted)


def test_a_camera_that_stands_has_no_motion_at_all():
  rng = np.random.default_rng(1)
  points = _points(rng)
  positions, visible = _seen(points, np.tile(np.eye(4), (_FRAMES, 1, 1)))
  positions += rng.normal(0, 0.02, positions.shape)
  found = camera_motion.estimate(
    points, positions, visible, _INTRINSICS, _WIDTH
  )
  assert (found == np.eye(4)).all()


@pytest.mark.parametrize("case", ["hidden", "apart"])
def test_what_nothing_agrees_on_stays_unknown(case):
  rng = np.random.default_rng(2)
  points = _points(rng)
  positions, visible = _seen(points, _poses(np.zeros(3), np.ones(3) * 0.1))
  if case == "hidden":
    visible[3, 8:] = False
  else:
    positions[2] += rng.uniform(-6, 6, positions[2].shape)
  args = (points, positions, visible, _INTRINSICS, _WIDTH)
  assert camera_motion.estimate(*args) is None
