"""`more4d render` and `more4d export`, run as a user runs them."""

import json

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.cli import main, view
from more4d_jax.geometry import camera_paths
from more4d_jax.geometry.camera_files import formats
from more4d_jax.viewing import video


@pytest.fixture
def scene_file(tmp_path):
  z = np.full((6, 8), 2.0)
  rows, columns = np.mgrid[:6, :8] + 0.5
  first = np.stack([(columns - 4) / 9 * z, (rows - 3) / 9 * z, z], axis=-1)
  scene = scene_lib.Scene(
    tracks=np.stack([first, first + np.asarray([0.1, 0, 0])]).astype(
      np.float32
    ),
    visible=np.ones((2, 6, 8), bool),
    colours=np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8),
    intrinsics=np.asarray([9.0, 9.0, 4.0, 3.0], np.float32),
    fps=8.0,
  )
  scene.save(tmp_path / "s.npz")
  return tmp_path / "s.npz"


def test_render_writes_a_video_of_the_scene(tmp_path, scene_file, capsys):
  out = tmp_path / "new" / "v.mp4"
  status = main.main(
    [
      "render",
      "--scene",
      str(scene_file),
      "--camera",
      "static",
      "--out",
      str(out),
      "--min-side",
      "96",
    ]
  )
  assert status == 0, capsys.readouterr().err
  frames, fps = video.read_video(out)
  assert frames.shape == (2, 96, 128, 3)
  assert fps == 8.0
  expected = scene_lib.Scene.load(scene_file).colours
  centres = frames[0, 8::16, 8::16].astype(int)
  assert np.abs(centres - expected).mean() < 12  # Lossy, chroma halved.


def test_render_fills_holes_when_asked_to(tmp_path, scene_file):
  films = []
  for more in ((), ("--fill",)):
    out = tmp_path / "v.mp4"
    args = ["--scene", scene_file, "--camera", "orbit_left_90", "--out", out]
    assert main.main(["render", *map(str, args), *more]) == 0
    films.append(video.read_video(out)[0][-1])
  bare, filled = films
  black = (bare < 8).all(-1)
  assert black.mean() > 0.1
  assert (filled[black] < 8).all(-1).mean() < 0.2


def test_export_writes_what_was_asked_for(tmp_path, scene_file, capsys):
  status = main.main(
    [
      "export",
      "--scene",
      str(scene_file),
      "--to",
      "html,ply",
      "--out",
      str(tmp_path / "out"),
    ]
  )
  assert status == 0, capsys.readouterr().err
  page = (tmp_path / "out" / "scene.html").read_text()
  assert page.startswith("<!doctype html>")
  assert f"html: {tmp_path}/out/scene.html, 0.0 MB" in capsys.readouterr().out
  assert len(list((tmp_path / "out" / "ply").iterdir())) == 2


@pytest.mark.parametrize(
  "to", [("html", "ply"), ("html,ply",), ("html", "--to", "ply")]
)
def test_lists_are_arguments_or_repeated_flags(tmp_path, scene_file, to):
  out = tmp_path / "a, b: c=d ü"
  command = ["export", "--scene", str(scene_file), "--out", str(out), "--to"]
  assert main.main([*command, *to]) == 0
  assert {path.name for path in out.iterdir()} == {"scene.html", "ply"}


def test_a_camera_file_may_have_any_name(tmp_path, scene_file, capsys):
  camera = tmp_path / "dolly, slow: 1=ü.json"
  path = camera_paths.CameraPath(np.eye(4, dtype=np.float32)[None], None)
  formats.save(camera, path)
  out = tmp_path / "v.mp4"
  command = ["render", "--scene", str(scene_file), "--out", str(out)]
  assert main.main([*command, "--camera", str(camera)]) == 0
  assert out.is_file(), capsys.readouterr().err


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_a_path_goes_to_a_file_and_back(tmp_path, scene_file, capsys, kind):
  out = tmp_path / "new" / f"c{formats.FORMATS[kind].suffix}"
  command = ["camera", "--scene", str(scene_file), "--to", kind]
  more = ("--camera", "x_moving", "--reach", "1", "--out", str(out))
  assert main.main([*command, *more]) == 0, capsys.readouterr().err
  scene = scene_lib.Scene.load(scene_file)
  found = scene.camera_path(out)
  np.testing.assert_allclose(
    found.world_from_camera,
    scene.camera_path("x_moving").world_from_camera,
    atol=1e-6,
  )
  np.testing.assert_allclose(
    found.intrinsics, [scene.intrinsics] * 2, rtol=1e-6
  )


def _camera_at(path, x, turn=1.0):
  pose = np.diag([turn, 1.0, turn, 1.0]).astype(np.float32)
  pose[0, 3] = x
  formats.save(path, camera_paths.CameraPath(pose[None], None))
  return str(path)


def test_a_film_that_shows_little_says_why(tmp_path, scene_file, capsys):
  out = tmp_path / "v.mp4"
  command = ["render", "--scene", str(scene_file), "--out", str(out)]
  behind = _camera_at(tmp_path / "behind.json", 0.0, -1.0)
  assert main.main([*command, "--camera", behind]) == 2
  assert "points lie behind the camera" in capsys.readouterr().err
  assert not out.exists()
  assert main.main([*command, "--camera", behind, "--allow-empty"]) == 0
  assert "only 0.0 % of the pixels" in capsys.readouterr().out
  # The scene is 1.78 m wide at 2 m: 1.4 m to the right a fifth is in view.
  beside = _camera_at(tmp_path / "beside.json", 1.4)
  assert main.main([*command, "--camera", beside]) == 0
  assert "points lie outside the picture" in capsys.readouterr().out
  size = ("--height", "120", "--width", "160", "--splat", "0")
  assert main.main([*command, "--camera", "static", *size]) == 0
  assert "too far apart for this size" in capsys.readouterr().out
  assert main.main([*command, "--camera", "static"]) == 0
  assert "warning" not in capsys.readouterr().out


def test_a_files_intrinsics_scale_with_the_scene_and_the_film(
  tmp_path, scene_file
):
  """Those of 1280 x 720 film a scene of 8 x 6 as its own lens does."""
  command = ["render", "--scene", str(scene_file), "--min-side", "0"]
  films = []
  for name, lens in (("hd", [1080, 1080, 640, 360]), ("own", [9, 9, 4, 3])):
    camera = tmp_path / f"{name}.json"
    fields = {"convention": "OPENCV", "world_from_camera": np.eye(4).tolist()}
    camera.write_text(json.dumps({**fields, "intrinsics": lens}))
    out = tmp_path / f"{name}.mp4"
    size = ("--height", "60", "--width", "80")
    more = ("--camera", str(camera), "--out", str(out))
    assert main.main([*command, *size, *more]) == 0
    films.append(video.read_video(out)[0])
  np.testing.assert_array_equal(films[0], films[1])


@pytest.mark.parametrize(
  ("command", "changes", "message"),
  [
    ("render", {"--camera": "spiral"}, "choose one of static, orbit_left_90"),
    ("render", {"--camera": "none.json"}, "no such camera file"),
    ("render", {"--scene": "none.npz"}, "no such scene file"),
    ("render", {"--out": "v.avi"}, "ending in .mp4"),
    ("render", {"--height": "-1"}, "of 0 to 8192"),
    ("render", {"--width": "100000"}, "of 0 to 8192"),
    ("render", {"--splat": "nan"}, "found 0, 0, 256 and nan"),
    ("export", {"--to": "usdz"}, "choose from html, ply"),
    ("export", {"--scene": "none.npz"}, "no such scene file"),
    ("export", {"--points": "0"}, "--points of at least 1, found 0"),
    ("export", {"--edge-threshold": "-1"}, "--edge-threshold of 0 to 10"),
    ("view", {"--scene": "none.npz"}, "no such scene file"),
    ("view", {"--port": "0"}, "between 1 and 65535"),
  ],
)
def test_mistakes_give_one_line_and_no_file(
  command, changes, message, tmp_path, scene_file, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  options = {"--scene": str(scene_file)}
  if command == "render":
    options |= {"--camera": "static", "--out": "v.mp4"}
  if command == "export":
    options |= {"--to": "ply", "--out": "out"}
  options |= changes
  before = sorted(tmp_path.iterdir())
  arguments = [word for pair in options.items() for word in pair]
  assert main.main([command, *arguments]) == 2
  error = capsys.readouterr().err
  assert error.startswith("error: ")
  assert error.count("\n") == 1
  assert message in error
  assert sorted(tmp_path.iterdir()) == before


def test_a_view_is_filmed_as_its_path_is(tmp_path, scene_file):
  scene = scene_lib.Scene.load(scene_file)
  films = view.Films(scene)
  assert set(films.names) == set(camera_paths.NAMES)
  poses = films.poses("static")
  (tmp_path / "v.mp4").write_bytes(films.film(poses, 2 * np.arctan(3 / 9)))
  frames, fps = video.read_video(tmp_path / "v.mp4")
  assert (len(frames), fps) == (2, 8.0)
  size = frames.shape[1] // 6
  centres = frames[0, size // 2 :: size, size // 2 :: size].astype(int)
  assert np.abs(centres - scene.colours).mean() < 12  # Lossy, chroma halved.
  behind = poses @ np.diag([-1, 1, -1, 1]).astype(np.float32)
  with pytest.raises(errors.UserError, match="none of its points") as caught:
    films.film(behind, 1.0)
  assert "--" not in str(caught.value)  # This command has no flag for it.


def _rendered(scene_file, out, *flags):
  words = ["--scene", str(scene_file), "--out", str(out), *flags]
  return main.main(["render", *words])


def test_a_path_that_leaves_the_scene_is_shortened(
  tmp_path, scene_file, capsys
):
  orbit = ("--camera", "orbit_left_90")
  assert _rendered(scene_file, tmp_path / "some.mp4", *orbit) == 0
  said = capsys.readouterr().out
  assert "orbit_left_90: moves" in said and "--reach 1 films all" in said
  whole = (*orbit, "--reach", "1")
  assert _rendered(scene_file, tmp_path / "all.mp4", *whole) == 0
  assert "moves" not in capsys.readouterr().out
  some, whole = (
    video.read_video(tmp_path / name)[0][-1].astype(int).mean()
    for name in ("some.mp4", "all.mp4")
  )
  assert some > 1.5 * whole  # Uncovered pixels are black.


def test_time_is_apart_from_the_camera(tmp_path, scene_file, capsys):
  out = tmp_path / "v.mp4"
  flags = ("--camera", "static", "--time", "ping-pong", "--frames", "5")
  assert _rendered(scene_file, out, *flags) == 0, capsys.readouterr().err
  frames = video.read_video(out)[0].astype(int)
  assert len(frames) == 5
  assert np.abs(frames[0] - frames[4]).mean() < 3  # Lossy.
  assert np.abs(frames[0] - frames[2]).mean() > 10


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (("--reach", "-1"), "expected --reach of 0 to 2, found --reach -1"),
    (("--frames", "100000"), "--frames of 0 to 10000, found 100000"),
    (("--time", "bounce"), "bounce"),
  ],
)
def test_wrong_film_flags_are_one_line(
  tmp_path, scene_file, capsys, flags, words
):
  out = tmp_path / "v.mp4"
  assert _rendered(scene_file, out, "--camera", "static", *flags) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert words in line
  assert not out.exists()
