import socket

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.viewing import clouds, viewer


def _scene(frames=4, height=10, width=12):
  rng = np.random.default_rng(0)
  tracks = rng.uniform(-1, 1, (frames, height, width, 3))
  tracks[..., 2] += 3
  tracks[1, 0, 0] = np.nan
  tracks[0, 1, 1, 2] = -1.0
  return scene_lib.Scene(
    tracks=tracks.astype(np.float32),
    visible=np.ones((frames, height, width), bool),
    colours=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
    intrinsics=np.asarray([14.0, 12.0, 6.0, 5.0], np.float32),
    fps=8.0,
    metadata={"prompt": "a </script> of its own"},
  )


def test_cloud_leaves_out_what_is_not_a_point():
  cloud = clouds.from_scene(_scene())
  assert cloud.positions.shape == (4, 118, 3)
  assert cloud.summary()["points_of_scene"] == 120
  # A point at depth z is z / f away from its neighbour.
  np.testing.assert_allclose(
    cloud.spacing, cloud.positions[0, :, 2] / np.sqrt(14.0 * 12.0), rtol=1e-6
  )
  np.testing.assert_allclose(np.tan(cloud.fov_y / 2), 5 / 12)


def test_a_scene_without_points_is_refused():
  scene = _scene()
  scene.tracks[:] = np.nan
  with pytest.raises(errors.UserError, match="found none"):
    clouds.from_scene(scene)


def test_server_answers_and_its_player_goes_round():
  server, player = viewer.start_server(_scene(), port=18080)
  try:
    with socket.create_connection(("127.0.0.1", server.get_port()), 5):
      pass
    seen = [player.shown]
    for _ in range(4):
      player.advance()
      seen.append(player.shown)
    assert seen == [0, 1, 2, 3, 0]
  finally:
    server.stop()
