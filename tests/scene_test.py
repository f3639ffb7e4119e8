import json
import os
import re

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.geometry import camera_paths

_SIZE = (3, 6, 8)


def _scene(dtype=np.float32):
  rng = np.random.default_rng(0)
  frames, height, width = _SIZE
  intrinsics = np.asarray([9.0, 9.0, 4.0, 3.0], np.float32)
  z = rng.uniform(1, 2, (height, width))
  rows, columns = np.mgrid[:height, :width] + 0.5
  first = np.stack([(columns - 4) / 9 * z, (rows - 3) / 9 * z, z], axis=-1)
  steps = rng.normal(scale=0.05, size=(frames, 1, 1, 3)).cumsum(0)
  steps[0] = 0
  return scene_lib.Scene(
    tracks=(first[None] + steps).astype(dtype),
    visible=rng.uniform(size=_SIZE) < 0.8,
    colours=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
    intrinsics=intrinsics,
    fps=7.5,
    metadata={"prompt": "a <b> of “c”", "seed": 3, "alpha": [1.0, 1.5]},
  )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_saved_scene_is_read_back(tmp_path, dtype):
  scene = _scene(dtype)
  scene.save(tmp_path / "s.npz")
  again = scene_lib.Scene.load(tmp_path / "s.npz")
  for name in ("tracks", "visible", "colours", "intrinsics"):
    got, wanted = getattr(again, name), getattr(scene, name)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)
  assert (again.fps, again.metadata) == (7.5, scene.metadata)
  assert os.listdir(tmp_path) == ["s.npz"]
  # Any program that reads npz files finds the documented fields.
  with np.load(tmp_path / "s.npz") as archive:
    storage = {"version": 2, "tracks": np.dtype(dtype).name}
    found = json.loads(str(archive["metadata"]))
    assert found == scene.metadata | {"storage": storage}
    np.testing.assert_array_equal(archive["tracks"], scene.tracks)


def test_a_compact_file_is_within_its_bound(tmp_path):
  scene = _scene()
  scene.save(tmp_path / "s.npz", compact=True)
  scene.save(tmp_path / "whole.npz")
  again = scene_lib.Scene.load(tmp_path / "s.npz")
  assert again.tracks.dtype == np.float16
  error = np.abs(again.tracks.astype(np.float64) - scene.tracks)
  assert (error < 5e-4 * scene.tracks[..., 2:]).all()
  sizes = [(tmp_path / n).stat().st_size for n in ("s.npz", "whole.npz")]
  assert sizes[0] < 0.8 * sizes[1]  # Colours and headers stay.


def test_points_beyond_float16_stay_as_they_are(tmp_path):
  scene = _scene()
  scene.tracks[1, 2, 3, 2] = 1e5
  scene.tracks[1, 2, 4, 2] = np.nan
  scene.save(tmp_path / "s.npz", compact=True)
  again = scene_lib.Scene.load(tmp_path / "s.npz")
  np.testing.assert_array_equal(again.tracks, scene.tracks)
  with np.load(tmp_path / "s.npz") as archive:
    storage = json.loads(str(archive["metadata"]))["storage"]
  assert storage["tracks"] == "float32"


def test_files_of_other_versions(tmp_path):
  scene = _scene()
  fields = {n: getattr(scene, n) for n in ("tracks", "visible", "colours")}
  fields |= {"intrinsics": scene.intrinsics, "fps": np.float32(7.5)}
  np.savez(tmp_path / "one.npz", **fields, metadata=json.dumps({"seed": 3}))
  again = scene_lib.Scene.load(tmp_path / "one.npz")
  np.testing.assert_array_equal(again.tracks, scene.tracks)
  assert again.metadata == {"seed": 3}
  newer = json.dumps({"storage": {"version": 9}})
  np.savez(tmp_path / "nine.npz", **fields, metadata=newer)
  with pytest.raises(errors.UserError, match="version 1 to 2, found 9"):
    scene_lib.Scene.load(tmp_path / "nine.npz")


def test_saving_replaces_a_file_only_when_complete(tmp_path, monkeypatch):
  file = tmp_path / "s.npz"
  file.write_bytes(b"before")

  def fail(stream, *_, **__):
    stream.write(b"half")
    raise OSError("disk full")

  monkeypatch.setattr(np.lib.format, "write_array", fail)
  with pytest.raises(OSError, match="disk full"):
    _scene().save(file)
  assert file.read_bytes() == b"before"
  assert os.listdir(tmp_path) == ["s.npz"]


def test_saving_into_a_missing_folder_says_so(tmp_path):
  with pytest.raises(errors.UserError, match="no such folder"):
    _scene().save(tmp_path / "none" / "s.npz")


def test_points_between_two_surfaces_go_to_one_of_them():
  """A ramp of three points from 2 to 4 m, over a square that moves away."""
  inverse = np.full((12, 30), 1 / 4)
  inverse[:, :14] = 1 / 2
  inverse[:, 13:16] = np.linspace(1 / 2, 1 / 4, 5)[1:-1]
  rows, columns = np.mgrid[:12, :30] + 0.5
  ray = np.stack([(columns - 15) / 30, (rows - 6) / 30, np.ones((12, 30))], -1)
  first = ray / inverse[..., None]
  away = np.where(columns < 14, 0.5, 0.0)[..., None]
  tracks = np.stack([first, first + away]).astype(np.float32)
  scene = scene_lib.Scene(
    tracks,
    np.ones(tracks.shape[:3], bool),
    np.zeros((12, 30, 3), np.uint8),
    np.asarray([30.0, 30.0, 15.0, 6.0], np.float32),
    8.0,
  )
  moved = scene.on_surfaces()
  depth = moved.tracks[0, ..., 2]
  assert ((abs(depth - 2) < 1e-3) | (abs(depth - 4) < 1e-3)).all()
  seen = moved.tracks[0] / depth[..., None]  # By the first camera.
  np.testing.assert_allclose(seen, ray, atol=1e-5)
  near = depth < 3
  steps = moved.tracks[1] - moved.tracks[0]
  np.testing.assert_allclose(steps[near], 0.5, atol=1e-5)
  np.testing.assert_allclose(steps[~near], 0, atol=1e-5)
  assert scene.on_surfaces(0.0) is scene


def test_render_gives_the_picture_from_the_first_camera():
  scene = _scene()
  video, coverage = scene.render("static")
  np.testing.assert_array_equal(video[0], scene.colours)
  assert coverage[0].all()
  poses = np.repeat(np.eye(4, dtype=np.float32)[None], 3, axis=0)
  again, _ = scene.render(camera_paths.CameraPath(poses, None))
  np.testing.assert_array_equal(again, video)
  # A raw pose that stands for every frame.
  again, _ = scene.render(poses[:1])
  np.testing.assert_array_equal(again, video)


def test_render_refuses_unknown_paths_and_other_lengths():
  with pytest.raises(errors.UserError, match="choose one of static"):
    _scene().render("spiral")
  poses = np.repeat(np.eye(4, dtype=np.float32)[None], 2, axis=0)
  with pytest.raises(errors.UserError, match="expected 3 camera poses"):
    _scene().render(camera_paths.CameraPath(poses, None))


def _changed(tmp_path, **changes):
  _scene().save(tmp_path / "s.npz")
  with np.load(tmp_path / "s.npz") as archive:
    fields = dict(archive) | changes
  fields = {k: v for k, v in fields.items() if v is not None}
  np.savez(tmp_path / "s.npz", **fields)
  return tmp_path / "s.npz"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"tracks": None}, "not a scene file: it lacks tracks"),
    ({"tracks": np.zeros((3, 6, 8), np.float32)}, "tracks must be T x H x W"),
    ({"tracks": np.zeros((3, 6, 8, 3), np.int32)}, "float32 or float16"),
    ({"tracks": np.zeros((0, 6, 8, 3), np.float32)}, "tracks must be"),
    ({"visible": np.ones((3, 6, 7), bool)}, "visible must be 3 x 6 x 8"),
    ({"colours": np.zeros((6, 8), np.uint8)}, "colours must be 6 x 8 x 3"),
    ({"intrinsics": np.zeros(4, np.float32)}, "positive focal lengths"),
    ({"intrinsics": np.eye(3)}, "intrinsics must be 4"),
    ({"fps": np.float32(0)}, "fps must be positive"),
    ({"metadata": np.asarray("{")}, "metadata is not JSON"),
    ({"metadata": np.asarray("[]")}, "must be a JSON object"),
    ({"metadata": np.asarray({"a": 1})}, "damaged or of another kind"),
  ],
)
def test_foreign_scenes_are_refused(tmp_path, changes, message):
  file = _changed(tmp_path, **changes)
  with pytest.raises(errors.UserError, match=re.escape(message)):
    scene_lib.Scene.load(file)


def test_damaged_files_are_refused(tmp_path):
  file = tmp_path / "s.npz"
  with pytest.raises(errors.UserError, match="no such scene file"):
    scene_lib.Scene.load(file)
  _scene().save(file)
  whole = file.read_bytes()
  middle = bytearray(whole)
  middle[len(whole) // 3] ^= 0xFF
  for data in (b"", b"text", whole[: len(whole) // 2], bytes(middle)):
    file.write_bytes(data)
    with pytest.raises(errors.UserError, match=r"s\.npz: expected a scene"):
      scene_lib.Scene.load(file)
  with open(file, "wb") as stream:
    np.save(stream, np.zeros(3))
  with pytest.raises(errors.UserError, match="a single array"):
    scene_lib.Scene.load(file)
