import base64
import json
import re
import socket

import msgspec
import numpy as np
import pytest
import zstandard

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


def _recording(page):
  """Decodes what the page plays: (seconds, [(time, message)], buffers)."""
  data = re.search(r'__VISER_EMBED_DATA__="([^"]+)"', page).group(1)
  raw = base64.b64decode(data)
  size = int.from_bytes(raw[:8], "little")
  inner = zstandard.ZstdDecompressor().decompress(raw[8:], max_output_size=size)
  length = int.from_bytes(inner[:8], "little")
  return msgspec.msgpack.decode(inner[8 : 8 + length])


def test_cloud_leaves_out_what_is_not_a_point():
  cloud = clouds.from_scene(_scene())
  assert cloud.positions.shape == (4, 118, 3)
  assert (cloud.total, cloud.stride) == (120, 1)
  # A point at depth z is z / f away from its neighbour.
  np.testing.assert_allclose(
    cloud.spacing, cloud.positions[0, :, 2] / np.sqrt(14.0 * 12.0), rtol=1e-6
  )
  np.testing.assert_allclose(np.tan(cloud.fov_y / 2), 5 / 12)


@pytest.mark.parametrize(
  ("limit", "stride"), [(None, 1), (480, 1), (479, 2), (120, 2), (119, 3)]
)
def test_cloud_is_thinned_evenly_to_the_bound(limit, stride):
  scene = _scene()
  cloud = clouds.from_scene(scene, limit)
  assert cloud.stride == stride
  expected = scene.colours[::stride, ::stride].reshape(-1, 3)
  assert len(cloud.colours) in (len(expected), len(expected) - 1, 118)
  assert cloud.summary()["points"] == len(cloud.colours)


def test_a_scene_without_points_is_refused():
  scene = _scene()
  scene.tracks[:] = np.nan
  with pytest.raises(errors.UserError, match="found none"):
    clouds.from_scene(scene)


def test_page_plays_every_frame_without_the_network(tmp_path):
  cloud = viewer.write_html(tmp_path / "s.html", _scene(), title="a <b>")
  page = (tmp_path / "s.html").read_text()
  assert "<title>a &lt;b&gt;</title>" in page
  # Nothing is fetched: no address outside the page but XML name spaces.
  links = set(re.findall(r"https?://[\w./-]+", page[: page.index("<body")]))
  assert links <= {"http://www.w3.org/2000/svg"}
  assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', page)
  text = re.search(r'id="more4d-metadata">(.*?)</script>', page, re.DOTALL)
  metadata = json.loads(text.group(1))
  assert metadata["prompt"] == "a </script> of its own"
  assert metadata["page"]["points"] == len(cloud.colours) == 118
  recording = _recording(page)
  assert recording["durationSeconds"] == pytest.approx(4 / 8.0)
  times = {}
  for time, message in recording["messages"]:
    if message["type"] == "SetSceneNodeVisibilityMessage":
      times.setdefault(message["name"].split("/")[1], []).append(
        (time, message["visible"])
      )
  for t in range(4):
    changes = dict(times[f"frame_{t:04d}"])
    # Frame t shows from t / fps until (t + 1) / fps.
    assert changes[t / 8.0] is True
    if t < 3:
      assert changes[(t + 1) / 8.0] is False


def test_page_of_a_thinned_scene_says_so(tmp_path):
  cloud = viewer.write_html(tmp_path / "s.html", _scene(), max_positions=120)
  assert cloud.stride == 2
  page = (tmp_path / "s.html").read_text()
  text = re.search(r'id="more4d-metadata">(.*?)</script>', page, re.DOTALL)
  summary = json.loads(text.group(1))["page"]
  assert summary["points_of_scene"] == 120
  assert summary["points"] < 120
  assert summary["stride"] == 2


def test_page_into_a_missing_folder_says_so(tmp_path):
  with pytest.raises(errors.UserError, match="no such folder"):
    viewer.write_html(tmp_path / "none" / "s.html", _scene())


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
