"""How far a camera may move: predictions against rendered coverage."""

import numpy as np
import pytest

from more4d_jax import scene as scene_lib
from more4d_jax.geometry import camera_paths, path_reach

_INTRINSICS = np.asarray([48.0, 48.0, 32.0, 24.0], np.float32)
_FRAMES = 5


def _tracks(depth):
  """Still points of a depth map [48 64]."""
  fx, fy, cx, cy = _INTRINSICS
  x = (np.arange(64) + 0.5 - cx) / fx
  y = (np.arange(48)[:, None] + 0.5 - cy) / fy
  points = np.stack([x * depth, y * depth, depth + 0 * x], axis=-1)
  return np.repeat(points[None], _FRAMES, axis=0).astype(np.float32)


def _wall():
  return np.full((48, 64), 4.0)


def _rendered(tracks, name, reach):
  visible = np.ones(tracks.shape[:3], bool)
  colours = np.zeros((48, 64, 3), np.uint8)
  scene = scene_lib.Scene(tracks, visible, colours, _INTRINSICS, 8.0)
  path = camera_paths.find(
    name, _FRAMES, scene.centre, _INTRINSICS, reach=reach
  )
  return scene.render(path)[1].mean(axis=(1, 2)), path


@pytest.mark.parametrize("name", ["x_moving", "forward", "orbit_left_90"])
@pytest.mark.parametrize("reach", [0.3, 1.0])
def test_prediction_is_near_what_is_rendered(name, reach):
  tracks = _tracks(_wall())
  rendered, path = _rendered(tracks, name, reach)
  found = path_reach.predicted_coverage(tracks, _INTRINSICS, path)
  # Cells are two pixels wide: a border that cuts through one counts whole.
  np.testing.assert_allclose(found, rendered, atol=0.1)


def test_a_path_is_shortened_until_enough_is_covered():
  tracks = _tracks(_wall())
  reach = path_reach.largest_reach("orbit_left_90", tracks, _INTRINSICS)
  assert 0.1 < reach < 0.9
  assert _rendered(tracks, "orbit_left_90", reach)[0].min() > 0.62
  assert _rendered(tracks, "orbit_left_90", 1.3 * reach)[0].min() < 0.75
  assert path_reach.largest_reach("forward", tracks, _INTRINSICS) == 1.0


def test_a_reach_of_an_orbit_is_its_angle():
  centre = np.asarray([0.5, 0.2, 4.0])
  whole = camera_paths.named_path("orbit_left_90", 9, centre)
  part = camera_paths.scaled(whole, 1 / 3)
  turned = np.degrees(np.arccos((np.trace(part[-1, :3, :3]) - 1) / 2))
  np.testing.assert_allclose(turned, 30.0, atol=1e-4)
  distance = np.linalg.norm(part[:, :3, 3] - centre, axis=-1)
  np.testing.assert_allclose(distance, np.linalg.norm(centre), rtol=1e-5)
  np.testing.assert_allclose(camera_paths.scaled(whole, 1.0), whole, atol=1e-6)


@pytest.mark.parametrize(
  "name", ["static", "orbit_left_90", "forward", "circular", "x_moving"]
)
def test_a_sky_changes_neither_centre_nor_coverage(name):
  wall = _wall()
  sky = wall.copy()
  sky[:2] = 1000.0  # 4 % of the points.
  found = []
  for depth in (wall, sky):
    tracks = _tracks(depth)
    centre = camera_paths.scene_centre(tracks[0])
    np.testing.assert_allclose(centre[2], 4.0)
    found.append(_rendered(tracks, name, 1.0)[0].mean())
  assert abs(found[0] - found[1]) < 0.05
