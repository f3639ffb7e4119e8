"""Crops and mirror images against projection: what lines up must stay so."""

import numpy as np
import pytest

from more4d_jax.data import framing
from tests.data import scenes


def project(points, intrinsics):
  fx, fy, cx, cy = intrinsics.astype(np.float64)
  points = points.astype(np.float64)
  x, y, z = np.moveaxis(points, -1, 0)
  return np.stack([x / z * fx + cx, y / z * fy + cy], -1)


def grid(height, width):
  rows, columns = np.mgrid[:height, :width] + 0.5
  return np.stack([columns, rows], -1)


PLANS = [
  framing.plan((12, 17), (12, 17)),
  framing.plan((12, 17), (8, 8)),
  framing.plan((12, 17), (6, 10), offsets=(0.0, 1.0), mirror=True),
  framing.plan((12, 17), (24, 34)),
  framing.plan((12, 17), (30, 31), mirror=True),
  framing.plan((12, 17), (12, 5), offsets=(1.0, 1.0)),
]


@pytest.mark.parametrize("plan", PLANS)
def test_frame_0_projects_onto_the_new_grid(plan):
  record = scenes.record()
  tracks = framing.frame_tracks(record.tracks, record.intrinsics, plan)
  intrinsics = framing.frame_intrinsics(record.intrinsics, plan)
  assert tracks.dtype == np.float32 and tracks.shape[1:3] == plan.size
  # Float32 coordinates of about 3 m at 50 pixels focal length: 1e-5.
  np.testing.assert_allclose(
    project(tracks[0], intrinsics), grid(*plan.size), atol=1e-4
  )
  depth = framing.frame_map(record.depth, plan)
  np.testing.assert_array_equal(depth[0], tracks[0, ..., 2])


@pytest.mark.parametrize("plan", PLANS)
def test_motion_is_kept(plan):
  record = scenes.record()
  tracks = framing.frame_tracks(record.tracks, record.intrinsics, plan)
  expected = framing.frame_map(record.tracks - record.tracks[:1], plan)
  expected = expected * ([-1, 1, 1] if plan.mirror else [1, 1, 1])
  np.testing.assert_allclose(tracks - tracks[:1], expected, atol=1e-6)


def test_a_crop_alone_copies():
  record = scenes.record()
  plan = framing.plan((12, 17), (12, 5), offsets=(0.0, 1.0))
  found = framing.frame_video(record.video, plan)
  np.testing.assert_array_equal(found, record.video[:, :, 12:])
  found = framing.frame_tracks(record.tracks, record.intrinsics, plan)
  np.testing.assert_array_equal(found, record.tracks[:, :, 12:])
  cx = framing.frame_intrinsics(record.intrinsics, plan)[2]
  assert cx == record.intrinsics[2] - 12


def test_a_linear_ramp_is_resized_to_a_linear_ramp():
  ramp = np.broadcast_to(np.arange(40)[None, None, :, None] * 5, (1, 30, 40, 3))
  plan = framing.plan((30, 40), (60, 80))
  found = framing.frame_video(ramp.astype(np.uint8), plan)[0, 30, 8:-8, 0]
  # Pixel centres: column c of the new picture lies at (c + 0.5) / 2 - 0.5.
  expected = 5 * ((np.arange(80) + 0.5) / 2 - 0.5)[8:-8]
  np.testing.assert_allclose(found, expected, atol=1.01)  # Rounding twice.


def test_mirrored_twice_is_the_original():
  record = scenes.record()
  plan = framing.plan((12, 17), (12, 17), mirror=True)
  once = framing.frame_tracks(record.tracks, record.intrinsics, plan)
  intrinsics = framing.frame_intrinsics(record.intrinsics, plan)
  twice = framing.frame_tracks(once, intrinsics, plan)
  np.testing.assert_array_equal(twice, record.tracks)
  angle = 0.3
  pose = np.eye(4, dtype=np.float32)[None].copy()
  pose[0, :3, :3] = [
    [np.cos(angle), 0, np.sin(angle)],
    [0, 1, 0],
    [-np.sin(angle), 0, np.cos(angle)],
  ]
  pose[0, :3, 3] = (1, 2, 3)
  mirrored = framing.frame_poses(pose, plan)
  assert np.linalg.det(mirrored[0, :3, :3]) == pytest.approx(1, abs=1e-6)
  np.testing.assert_array_equal(framing.frame_poses(mirrored, plan), pose)
  # A mirrored point in the mirrored camera is the mirrored camera point.
  point, mirror = np.array([0.4, -1, 5, 1]), np.array([-1, 1, 1, 1])
  expected = mirror * (np.linalg.inv(pose[0]) @ point)
  found = np.linalg.inv(mirrored[0]) @ (mirror * point)
  np.testing.assert_allclose(found, expected, atol=1e-5)
