import json
import re

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.geometry import camera_paths
from more4d_jax.geometry.camera_files import formats

_CENTRE = np.asarray([0.3, -0.2, 4.0], np.float32)
# `circle_rotating` starts beside the first camera, as the original does.
_START_AT_IDENTITY = [n for n in camera_paths.NAMES if n != "circle_rotating"]


def _position(name, frames=16, centre=_CENTRE):
  return camera_paths.named_path(name, frames, centre)[:, :3, 3]


@pytest.mark.parametrize("name", camera_paths.NAMES)
@pytest.mark.parametrize("frames", [1, 5, 49])
def test_poses_are_rigid(name, frames):
  poses = camera_paths.named_path(name, frames, _CENTRE)
  assert poses.shape == (frames, 4, 4)
  rotation = poses[:, :3, :3]
  identity = np.broadcast_to(np.eye(3), rotation.shape)
  np.testing.assert_allclose(
    rotation @ np.swapaxes(rotation, 1, 2), identity, atol=1e-6
  )
  np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-6)
  np.testing.assert_array_equal(poses[:, 3], [[0, 0, 0, 1]] * frames)


@pytest.mark.parametrize("name", _START_AT_IDENTITY)
def test_first_pose_is_the_identity(name):
  poses = camera_paths.named_path(name, 9, _CENTRE)
  np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-7)


def test_orbit_ends_left_of_the_centre_and_looks_at_it():
  poses = camera_paths.named_path("orbit_left_90", 9, _CENTRE)
  offset = poses[:, :3, 3] - _CENTRE
  np.testing.assert_allclose(
    np.linalg.norm(offset, axis=-1), np.linalg.norm(_CENTRE), rtol=1e-6
  )
  assert (np.diff(poses[:, 0, 3])[:5] < 0).all()  # It sets out to the left.
  # On the axis: the camera stands at c - (d, 0, 0) and looks along +x.
  poses = camera_paths.named_path(
    "orbit_left_90", 9, np.asarray([0, 0, 4.0], np.float32)
  )
  np.testing.assert_allclose(poses[-1, :3, 3], [-4.0, 0.0, 4.0], atol=1e-6)
  np.testing.assert_allclose(poses[-1, :3, 2], [1.0, 0.0, 0.0], atol=1e-6)
  np.testing.assert_allclose(poses[:, :3, 1], [[0, 1, 0]] * 9, atol=1e-7)


@pytest.mark.parametrize(
  ("name", "side"), [("surrounding", 1.0), ("anti-surrounding", -1.0)]
)
def test_surrounding_turns_45_degrees_about_the_centre(name, side):
  poses = camera_paths.named_path(name, 8, np.asarray([0, 0, 4.0], np.float32))
  # phi = 7/8 of 45 degrees in the last frame.
  angle = np.pi / 4 * 7 / 8
  expected = [-side * 4 * np.sin(angle), 0.0, 4 - 4 * np.cos(angle)]
  np.testing.assert_allclose(poses[-1, :3, 3], expected, atol=1e-5)
  forward = -poses[-1, :3, 3] + [0, 0, 4.0]
  np.testing.assert_allclose(poses[-1, :3, 2], forward / 4, atol=1e-5)


def test_circle_rotating_is_the_originals_formula():
  d = 4.0
  position = _position("circle_rotating", 16)
  phi = np.arange(16) / 16
  expected = (
    0.05
    * d
    * np.stack(
      [np.cos(2 * np.pi * phi), np.sin(2 * np.pi * phi), 3 * phi], axis=-1
    )
  )
  np.testing.assert_allclose(position, expected, atol=1e-6)
  poses = camera_paths.named_path("circle_rotating", 16, _CENTRE)
  towards = _CENTRE - position
  towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
  np.testing.assert_allclose(poses[:, :3, 2], towards, atol=1e-6)


def test_original_surrounding_starts_elsewhere():
  poses = camera_paths.named_path("surrounding", 8, _CENTRE, compat=True)
  x, _, z = _CENTRE
  np.testing.assert_allclose(poses[0, :3, 3], [2 * x, 0, 0], atol=1e-6)
  offset = poses[:, :3, 3] - [x, 0, z]
  angle = np.unwrap(np.arctan2(offset[:, 2], offset[:, 0]))
  np.testing.assert_allclose(np.diff(angle), -np.pi / 4 / 8, atol=1e-5)
  np.testing.assert_allclose(
    np.linalg.norm(offset, axis=-1), np.hypot(x, z), rtol=1e-5
  )
  towards = _CENTRE - poses[:, :3, 3]
  towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
  np.testing.assert_allclose(poses[:, :3, 2], towards, atol=1e-6)


@pytest.mark.parametrize("name", ["forward_backward", "circle_rotating"])
def test_paths_grow_with_their_reach(name):
  half, whole = (
    camera_paths.named_path(name, 9, _CENTRE, reach=reach)[:, :3, 3]
    for reach in (0.1, 0.2)
  )
  np.testing.assert_allclose(2 * half, whole, atol=1e-6)
  assert np.abs(whole).max() > 0.04
  with pytest.raises(ValueError, match="no reach"):
    camera_paths.named_path("static", 9, _CENTRE, reach=0.1)


def test_reach_of_the_straight_paths():
  d = 4.0
  forward = _position("forward", 9)
  np.testing.assert_allclose(forward[-1], [0, 0, 0.3 * d], atol=1e-6)
  swing = _position("x_moving", 16)
  np.testing.assert_allclose(swing[4], [0.1 * d, 0, 0], atol=1e-6)
  np.testing.assert_allclose(swing[12], [-0.1 * d, 0, 0], atol=1e-6)
  np.testing.assert_allclose(
    _position("y_moving", 16)[4], [0, 0.1 * d, 0], atol=1e-6
  )
  back = _position("forward_backward", 16)[:, 2]
  np.testing.assert_allclose(back[[0, 4, 8, 12]], [0, 0.4, 0, -0.4], atol=1e-6)
  np.testing.assert_allclose(_position("mix1", 16)[4], [0.2, 0, 0.2], atol=1e-6)
  circle = _position("circular", 16)
  np.testing.assert_allclose(circle[8], [0, 0.1 * d, 0], atol=1e-6)
  middle = circle - [0, 0.05 * d, 0]
  np.testing.assert_allclose(
    np.linalg.norm(middle, axis=-1), 0.05 * d, rtol=1e-5
  )


def test_rolls_turn_about_the_viewing_axis():
  poses = camera_paths.named_path("camera_rotate", 16, _CENTRE)
  np.testing.assert_allclose(
    poses[8, :2, :2],
    [[np.sqrt(3) / 2, -0.5], [0.5, np.sqrt(3) / 2]],
    atol=1e-6,
  )
  mixed = camera_paths.named_path("mix2", 16, _CENTRE)
  plain = camera_paths.named_path("circular", 16, _CENTRE)
  np.testing.assert_allclose(mixed[:, :, 2:], plain[:, :, 2:], atol=1e-6)
  turn = plain[8, :3, :3].T @ mixed[8, :3, :3]
  np.testing.assert_allclose(
    np.degrees(np.arctan2(turn[1, 0], turn[0, 0])), 10.0, atol=1e-4
  )


@pytest.mark.parametrize("wrong", ["orbit_right", "Static", ""])
def test_an_unknown_name_lists_the_known_ones(wrong):
  for function in (
    camera_paths.check,
    lambda name: camera_paths.resolve(name, 5, _CENTRE),
  ):
    with pytest.raises(errors.UserError, match="orbit_left_90, forward"):
      function(wrong)


def test_scene_centre_leaves_out_what_is_not_a_point():
  points = np.zeros((2, 2, 3), np.float32)
  points[0, 0], points[0, 1] = [1, 2, 3], [3, 2, 5]
  points[1, 0] = np.nan
  np.testing.assert_allclose(camera_paths.scene_centre(points), [2, 2, 4])
  with pytest.raises(ValueError, match="found none"):
    camera_paths.scene_centre(np.zeros((2, 2, 3), np.float32))


def _fields(frames=3, **changes):
  poses = camera_paths.named_path("surrounding", frames, _CENTRE)
  fields = {"world_from_camera": poses.tolist(), "convention": "opencv"}
  return {k: v for k, v in (fields | changes).items() if v is not None}


def _write(path, fields):
  if path.suffix == ".npz":
    np.savez(path, **fields)
  else:
    path.write_text(json.dumps(fields))
  return str(path)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_camera_file_gives_its_poses(tmp_path, suffix):
  intrinsics = [[50.0, 51.0, 32.0, 24.0]] * 3
  file = _write(tmp_path / f"path{suffix}", _fields(intrinsics=intrinsics))
  camera_paths.check(file)
  path = camera_paths.find(file, 3, _CENTRE)
  expected = camera_paths.named_path("surrounding", 3, _CENTRE)
  np.testing.assert_allclose(path.world_from_camera, expected, atol=1e-7)
  np.testing.assert_array_equal(path.intrinsics, intrinsics)
  assert camera_paths.label(file) == "path"


def test_a_mark_and_capitals_do_not_matter(tmp_path):
  text = json.dumps(_fields(convention=" OpenCV"))
  (tmp_path / "p.json").write_bytes(text.encode("utf-8-sig"))
  found = camera_paths.load_path(tmp_path / "p.json")
  expected = camera_paths.named_path("surrounding", 3, _CENTRE)
  np.testing.assert_allclose(found.world_from_camera, expected, atol=1e-7)


def test_opengl_files_are_turned_to_opencv_axes(tmp_path):
  # An OpenGL camera that steps up by 1 and back by 2, looking ahead.
  pose = np.eye(4)
  pose[:3, 3] = [0.0, 1.0, 2.0]
  # And one turned left by 90 degrees: its -z axis, the view, points to -x.
  left = np.eye(4)
  left[:3, :3] = np.asarray([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]])
  file = _write(
    tmp_path / "gl.json",
    _fields(
      world_from_camera=[pose.tolist(), left.tolist()], convention="opengl"
    ),
  )
  poses = camera_paths.resolve(file, 2, _CENTRE)
  np.testing.assert_allclose(poses[0, :3, 3], [0.0, -1.0, -2.0])
  np.testing.assert_allclose(poses[0, :3, :3], np.eye(3))
  np.testing.assert_allclose(poses[1, :3, 2], [-1.0, 0.0, 0.0])


def test_saved_paths_are_read_back(tmp_path):
  path = camera_paths.CameraPath(
    camera_paths.named_path("mix2", 4, _CENTRE),
    np.ones((4, 4), np.float32),
  )
  formats.save(tmp_path / "p.json", path)
  again = camera_paths.load_path(tmp_path / "p.json")
  np.testing.assert_array_equal(again.world_from_camera, path.world_from_camera)
  np.testing.assert_array_equal(again.intrinsics, path.intrinsics)


def test_one_pose_serves_every_frame_and_other_counts_are_refused(tmp_path):
  single = _write(
    tmp_path / "one.json", _fields(world_from_camera=np.eye(4).tolist())
  )
  assert camera_paths.resolve(single, 7, _CENTRE).shape == (7, 4, 4)
  three = _write(tmp_path / "three.json", _fields())
  with pytest.raises(
    errors.UserError, match=r"expected 7 camera poses.*found 3"
  ):
    camera_paths.resolve(three, 7, _CENTRE)


_SKEW = np.eye(4)
_SKEW[0, 0] = 2.0


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"convention": None}, "needs the field 'convention'"),
    ({"convention": "blender"}, "must be 'opencv' or 'opengl'"),
    ({"world_from_camera": None}, "needs the field 'world_from_camera'"),
    ({"world_from_camera": [[1, 2], [3]]}, "regular shape"),
    ({"world_from_camera": np.eye(3).tolist()}, "T x 4 x 4"),
    ({"world_from_camera": []}, "T x 4 x 4"),
    ({"world_from_camera": [_SKEW.tolist()]}, "not a rotation"),
    ({"world_from_camera": (np.eye(4) * np.nan).tolist()}, "NaN"),
    ({"intrinsics": [[1, 1, 0, 0]] * 2}, "one per pose"),
    ({"intrinsics": [0.0, 1, 0, 0]}, "focal lengths positive"),
  ],
)
def test_foreign_camera_files_are_refused(tmp_path, changes, message):
  file = _write(tmp_path / "bad.json", _fields(**changes))
  with pytest.raises(errors.UserError, match=re.escape(message)):
    camera_paths.load_path(file)


@pytest.mark.parametrize("name", ["bad.json", "bad.npz"])
def test_damaged_camera_files_are_refused(tmp_path, name):
  (tmp_path / name).write_bytes(b"\x00\xffnot a camera")
  with pytest.raises(errors.UserError, match=name):
    camera_paths.check(str(tmp_path / name))
  with pytest.raises(errors.UserError, match="no such camera file"):
    camera_paths.check(str(tmp_path / f"missing-{name}"))
  with open(tmp_path / "bad.npz", "wb") as stream:
    np.save(stream, np.eye(4))
  with pytest.raises(errors.UserError, match="a single array"):
    camera_paths.load_path(tmp_path / "bad.npz")
  (tmp_path / "list.json").write_text("[1, 2]")
  with pytest.raises(errors.UserError, match="expected a JSON object"):
    camera_paths.load_path(tmp_path / "list.json")


@pytest.mark.parametrize(
  ("name", "direction"),
  [
    ("left", (-1, 0, 0)),
    ("right", (1, 0, 0)),
    ("up", (0, -1, 0)),
    ("down", (0, 1, 0)),
  ],
)
def test_sideways_moves_end_a_fifth_of_the_depth_away(name, direction):
  poses = camera_paths.named_path(name, 9, _CENTRE)
  expected = 0.2 * _CENTRE[2] * np.asarray(direction)
  np.testing.assert_allclose(poses[-1, :3, 3], expected, atol=1e-6)
  # The centre keeps its direction in every camera.
  seen = np.einsum("tji,tj->ti", poses[:, :3, :3], _CENTRE - poses[:, :3, 3])
  seen /= np.linalg.norm(seen, axis=-1, keepdims=True)
  np.testing.assert_allclose(seen, np.repeat(seen[:1], 9, axis=0), atol=1e-5)


def test_dolly_zoom_keeps_the_size_of_the_centre_plane():
  intrinsics = np.asarray([50.0, 60.0, 32.0, 24.0], np.float32)
  path = camera_paths.find("dolly_zoom", 5, _CENTRE, intrinsics)
  distance = _CENTRE[2] - path.world_from_camera[:, 2, 3]
  size = path.intrinsics[:, :2] / distance[:, None]
  np.testing.assert_allclose(size, np.repeat(size[:1], 5, axis=0), rtol=1e-5)
  assert path.intrinsics[-1, 0] < 40
  with pytest.raises(ValueError, match="intrinsics are needed"):
    camera_paths.find("dolly_zoom", 5, _CENTRE)
