"""What each motion keeps, in closed form."""

import numpy as np
import pytest
from scipy.spatial import distance

from data_pipelines.photos import motions, shots

POINTS = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 3], (60, 3))


def chosen(kind):
  """The first motion of a kind, and its points."""
  for seed in range(100):
    rng = np.random.default_rng(seed)
    motion = motions.choose(rng, POINTS, "in the middle")
    if isinstance(motion, kind):
      return motion
  raise AssertionError(f"no {kind}")


@pytest.mark.parametrize(
  "kind",
  [motions.Rigid, motions.Articulated, motions.Wave, motions.Growth],
)
def test_nothing_has_moved_at_first_and_something_then(kind):
  motion = chosen(kind)
  np.testing.assert_allclose(motion.at(POINTS, 0.0), POINTS, atol=1e-12)
  most = max(
    np.abs(motion.at(POINTS, share) - POINTS).max() for share in (0.3, 0.6, 1)
  )
  assert 0.02 < most < 3
  assert "in the middle" in motion.words


def test_a_rigid_motion_keeps_distances():
  moved = chosen(motions.Rigid).at(POINTS, 0.37)
  np.testing.assert_allclose(distance.pdist(moved), distance.pdist(POINTS))


def test_growth_multiplies_distances():
  motion = chosen(motions.Growth)
  np.testing.assert_allclose(
    distance.pdist(motion.at(POINTS, 1.0)),
    motion.factor * distance.pdist(POINTS),
  )


def test_below_a_hinge_nothing_moves_and_far_above_it_turns():
  motion = chosen(motions.Articulated)
  moved = motion.at(POINTS, 0.11)
  below = POINTS[:, 1] >= motion.hinge[1]
  assert 0 < below.sum() < len(below)
  np.testing.assert_allclose(moved[below], POINTS[below], atol=1e-12)
  above = POINTS[:, 1] <= motion.hinge[1] - motion.zone
  assert above.sum() > 2
  np.testing.assert_allclose(
    distance.pdist(moved[above]), distance.pdist(POINTS[above])
  )
  np.testing.assert_allclose(
    np.linalg.norm(moved - motion.hinge, axis=1),
    np.linalg.norm(POINTS - motion.hinge, axis=1),
  )


def test_a_wave_leaves_its_foot():
  motion = chosen(motions.Wave)
  foot = POINTS.copy()
  foot[:, 1] = motion.foot
  np.testing.assert_allclose(motion.at(foot, 0.4), foot, atol=1e-12)


def test_cameras_begin_at_the_origin_and_stay_rigid():
  words = set()
  for seed in range(40):
    poses, text = shots.choose(np.random.default_rng(seed), 9, 2.0)
    words.add(text)
    np.testing.assert_array_equal(poses[0], np.eye(4))
    turned = poses[:, :3, :3] @ poses[:, :3, :3].swapaxes(1, 2)
    np.testing.assert_allclose(turned, np.tile(np.eye(3), (9, 1, 1)), atol=1e-9)
    assert np.linalg.norm(poses[:, :3, 3], axis=1).max() < 0.5
  assert len(words) > 6
