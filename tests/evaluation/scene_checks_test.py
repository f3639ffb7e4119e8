"""Checks of a scene whose answers are known."""

import numpy as np
import pytest

from more4d_jax.evaluation import scene_checks

_INTRINSICS = np.array([20, 30, 11, 9], np.float32)


def _points(height=16, width=24):
  rng = np.random.default_rng(0)
  z = rng.uniform(1, 5, (height, width))
  x = (np.arange(width) + 0.5 - 11) / 20 * z
  y = (np.arange(height)[:, None] + 0.5 - 9) / 30 * z
  return np.stack([x, y, z], -1).astype(np.float32)


def test_points_on_the_grid_reproject_to_it():
  points = _points()
  assert scene_checks.reprojection_error(points, _INTRINSICS) < 1e-4
  points[3, 4, 0] += points[3, 4, 2] / 20 * 0.25  # A quarter of a pixel.
  found = scene_checks.reprojection_error(points, _INTRINSICS)
  assert found == pytest.approx(0.25, abs=1e-4)


def test_a_still_scene_and_a_broken_one():
  tracks = np.repeat(_points()[None], 5, axis=0)
  found = scene_checks.scene_checks(tracks, _INTRINSICS)
  assert found["finite"] and found["moving_share"] == found["mean_jerk"] == 0
  tracks[2, 0, 0, 0] = np.nan
  assert not scene_checks.scene_checks(tracks, _INTRINSICS)["finite"]
