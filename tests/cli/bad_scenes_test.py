"""Scenes and cameras that cannot be meant, for every command that reads them.

Each ends in one line that names the mistake, and leaves nothing behind.
"""

import dataclasses
import json
import socket

import numpy as np
import pytest

from more4d_jax import scene as scene_lib
from more4d_jax.cli import main


def _scene(size=(6, 8)):
  height, width = size
  rows, columns = np.mgrid[:height, :width] + 0.5
  depth = np.full(size, 2.0)
  first = np.stack(
    [(columns - 4) / 9 * depth, (rows - 3) / 9 * depth, depth], axis=-1
  )
  return scene_lib.Scene(
    tracks=np.repeat(first[None], 5, axis=0).astype(np.float32),
    visible=np.ones((5, *size), bool),
    colours=np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8),
    intrinsics=np.asarray([9.0, 9.0, 4.0, 3.0], np.float32),
    fps=8.0,
  )


def _with_tracks(file, change):
  scene = _scene()
  dataclasses.replace(scene, tracks=change(scene.tracks)).save(file)


def _with_lens(file, lens):
  scene = _scene()
  lens = np.asarray(lens, np.float32)
  dataclasses.replace(scene, intrinsics=lens).save(file)


def _cut(file):
  _scene().save(file)
  file.write_bytes(file.read_bytes()[:-400])


def _flipped(file):
  _scene().save(file)
  data = bytearray(file.read_bytes())
  data[200:260] = bytes(60)
  file.write_bytes(bytes(data))


_SCENES = {
  "every point unknown": (
    lambda f: _with_tracks(f, lambda t: np.full_like(t, np.nan)),
    "no point with finite coordinates",
  ),
  "every point infinite": (
    lambda f: _with_tracks(f, lambda t: np.full_like(t, np.inf)),
    "no point with finite coordinates",
  ),
  "no focal length": (
    lambda f: _with_lens(f, [0, 9, 4, 3]), "positive focal lengths"
  ),
  "unknown focal length": (
    lambda f: _with_lens(f, [np.nan, 9, 4, 3]), "positive focal lengths"
  ),
  "cut off": (_cut, "damaged"),
  "bytes replaced": (_flipped, "damaged"),
}  # fmt: skip


def _poses():
  return np.tile(np.eye(4), (5, 1, 1))


def _camera(file, poses, **fields):
  fields = {"convention": "opencv", **fields}
  file.write_text(json.dumps({"world_from_camera": poses.tolist(), **fields}))


def _mirrored(file):
  _camera(file, _poses() * np.array([-1, 1, 1, 1]))


def _behind(file):
  _camera(file, _poses() * np.array([-1, 1, -1, 1]))


def _nowhere(file):
  poses = _poses()
  poses[:, 0, 3] = np.nan
  _camera(file, poses)


_CAMERAS = {
  "mirrored": (_mirrored, "mirror"),
  "all points behind": (_behind, "points lie behind the camera"),
  "unknown pose": (_nowhere, "finite"),
  "unknown convention": (
    lambda f: _camera(f, _poses(), convention="blender"), "convention"
  ),
  "singular intrinsics": (
    lambda f: _camera(f, _poses(), intrinsics=[0, 9, 4, 3]), "focal length"
  ),
  "other number of poses": (
    lambda f: _camera(f, _poses()[:2]), "expected 5 camera poses"
  ),
}  # fmt: skip


def _command(name, folder, scene, checkpoint, camera="static"):
  words = {
    "render": ["--camera", camera, "--out", folder / "v.mp4"],
    "view": ["--port", "65000"],
    "export": ["--to", "ply", "html", "3dgs", "glb", "--out", folder / "out"],
    "camera": ["--camera", camera, "--out", folder / "c.json"],
    "complete": [
      "--camera", camera, "--checkpoint", checkpoint, "--out", folder / "out",
    ],
  }[name]  # fmt: skip
  return main.main([name, "--scene", str(scene), *map(str, words)])


def _fails_in_one_line(status, folder, before, capsys):
  assert status == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("error: ")
  assert sorted(folder.iterdir()) == before
  return line


@pytest.mark.parametrize("name", ["render", "view", "export", "complete"])
@pytest.mark.parametrize("case", _SCENES)
def test_scenes(case, name, nano_checkpoint, tmp_path, capsys, monkeypatch):
  def no_server(*args, **options):
    raise AssertionError("a server was started")

  monkeypatch.setattr(socket.socket, "bind", no_server)
  make, words = _SCENES[case]
  scene = tmp_path / "s.npz"
  make(scene)
  before = sorted(tmp_path.iterdir())
  status = _command(name, tmp_path, scene, nano_checkpoint)
  line = _fails_in_one_line(status, tmp_path, before, capsys)
  assert words in line and "s.npz" in line


@pytest.mark.parametrize("name", ["render", "complete", "camera"])
@pytest.mark.parametrize("case", _CAMERAS)
def test_cameras(case, name, nano_checkpoint, tmp_path, capsys):
  if (case, name) == ("all points behind", "camera"):
    pytest.skip("a path may be written whatever it sees")
  make, words = _CAMERAS[case]
  scene, camera = tmp_path / "s.npz", tmp_path / "path.json"
  _scene().save(scene)
  make(camera)
  before = sorted(tmp_path.iterdir())
  status = _command(name, tmp_path, scene, nano_checkpoint, camera)
  line = _fails_in_one_line(status, tmp_path, before, capsys)
  assert words in line


@pytest.mark.parametrize("name", ["render", "export"])
def test_one_point_and_few_known_points_are_scenes(name, tmp_path, capsys):
  def one_known(tracks):
    tracks = np.full_like(tracks, np.nan)
    tracks[:, 2, 3] = [0.0, 0.0, 2.0]
    return tracks

  scene = tmp_path / "s.npz"
  _with_tracks(scene, one_known)
  assert _command(name, tmp_path, scene, None) == 0, capsys.readouterr().err
  _scene((1, 1)).save(scene)
  status = _command(name, tmp_path, scene, None, "left")
  assert status in (0, 2)
  assert capsys.readouterr().err.count("\n") <= 1
