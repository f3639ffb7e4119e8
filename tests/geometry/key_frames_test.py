"""Interpolated camera poses: exact at key frames, smooth between them."""

import numpy as np
import pytest
from scipy.spatial import transform

from more4d_jax.geometry import key_frames


def _pose(degrees, position):
  pose = np.eye(4)
  turn = transform.Rotation.from_euler("y", degrees, degrees=True)
  pose[:3, :3], pose[:3, 3] = turn.as_matrix(), position
  return pose


def test_key_frames_are_met_exactly():
  poses = np.stack(
    [
      _pose(0, (0, 0, 0)),
      _pose(20, (1, 0, 2)),
      _pose(-10, (2, 1, 2)),
      _pose(5, (2, 2, 3)),
    ]
  )
  times = np.asarray([0.0, 3.0, 7.0, 12.0])
  found = key_frames.interpolated(poses, times, np.arange(13.0))
  np.testing.assert_allclose(found[[0, 3, 7, 12]], poses, atol=1e-6)
  rotation = found[:, :3, :3]
  np.testing.assert_allclose(
    rotation @ np.swapaxes(rotation, 1, 2),
    np.broadcast_to(np.eye(3), rotation.shape),
    atol=1e-6,
  )


def test_a_turn_at_even_speed_stays_one():
  times = np.asarray([0.0, 2.0, 4.0])
  poses = np.stack([_pose(10 * t, (t, 0, -t)) for t in times])
  wanted = np.linspace(0, 4, 9)
  expected = np.stack([_pose(10 * t, (t, 0, -t)) for t in wanted])
  found = key_frames.interpolated(poses, times, wanted)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_path_stands_still_outside_its_times():
  poses = np.stack([_pose(0, (0, 0, 0)), _pose(30, (1, 0, 0))])
  found = key_frames.interpolated(
    poses, np.asarray([1.0, 2.0]), np.asarray([0.0, 3.0])
  )
  np.testing.assert_allclose(found, poses, atol=1e-6)
  alone = key_frames.interpolated(poses[:1], np.zeros(1), np.arange(3.0))
  np.testing.assert_allclose(alone, np.repeat(poses[:1], 3, axis=0))


def test_times_must_increase():
  poses = np.stack([np.eye(4)] * 2)
  with pytest.raises(ValueError, match="2 increasing times"):
    key_frames.interpolated(poses, np.asarray([1.0, 1.0]), np.arange(2.0))
