import socket

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.viewing import clouds, viewer
from tests import browser


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


class _Films:
  """Paths that turn about y, and a film that says what it was asked."""

  names = ("turn",)

  def __init__(self):
    self.asked = []

  def poses(self, name):
    assert name == "turn"
    poses = np.repeat(np.eye(4, dtype=np.float32)[None], 4, axis=0)
    for pose, angle in zip(poses, (0, 0.1, 0.2, 0.3)):
      c, s = np.cos(angle), np.sin(angle)
      pose[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
      pose[0, 3] = angle
    return poses

  def film(self, poses, fov_y):
    self.asked.append((poses, fov_y))
    return b"film"


def test_points_are_drawn_larger_and_paths_as_frusta():
  server, player = viewer.start_server(_scene(), port=18090)
  try:
    first = player.point_sizes
    player.resize(2.0)
    np.testing.assert_allclose(player.point_sizes, 2 * np.asarray(first))
    player.show(3)
    np.testing.assert_allclose(player.point_sizes, 2 * np.asarray(first))
    camera = viewer.Camera(server, clouds.from_scene(_scene()), _Films())
    camera.draw("turn")
    assert camera.drawn == 4
    camera.draw("none")
    assert camera.drawn == 0
  finally:
    server.stop()


@pytest.mark.slow
def test_a_browser_films_what_it_sees(tmp_path):
  films = _Films()
  server, _ = viewer.start_server(_scene(), films, port=18100)
  try:
    with browser.opened(tmp_path / "profile", downloads=tmp_path) as driver:
      driver.get(f"http://127.0.0.1:{server.get_port()}")
      button = "//button[contains(., 'film this view')]"
      browser.wait(
        driver,
        lambda d: d.find_element("xpath", button).is_displayed(),
        "the button",
      )
      browser.wait(
        driver,
        lambda d: [c for c in server.get_clients().values()
                   if c.camera.update_timestamp],
        "a camera",
      )  # fmt: skip
      driver.find_element("xpath", button).click()
      browser.wait(driver, lambda d: films.asked, "a film")
      assert len(driver.find_elements("css selector", "canvas")) >= 1
  finally:
    server.stop()
  ((poses, fov_y),) = films.asked
  assert poses.shape == (4, 4, 4)
  # The first camera's own view: y down, z forward, at the origin.
  np.testing.assert_allclose(poses[0], np.eye(4), atol=0.02)
  assert np.tan(fov_y / 2) == pytest.approx(5 / 12, rel=0.05)
