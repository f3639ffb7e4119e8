"""Camera files of other programs, by their documented formats."""

import json
import logging

import numpy as np
import pytest
from scipy.spatial import transform

from more4d_jax import errors
from more4d_jax.geometry import camera_paths
from more4d_jax.geometry.camera_files import formats
from more4d_jax.geometry.camera_files import path as path_lib

_CENTRE = np.asarray([0.3, -0.2, 4.0], np.float32)
_SIZE = (48, 64)
_OTHERS = sorted(set(formats.FORMATS) - {"json", "npz"})
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
_SHIFT = np.arange(9) * 0.05  # To the right, in every file below.


def _path(frames=9, name="surrounding"):
  lens = np.tile(np.float32([60.0, 61.0, 30.0, 25.0]), (frames, 1))
  lens[:, 0] += np.arange(frames)
  poses = camera_paths.named_path(name, frames, _CENTRE)
  return path_lib.CameraPath(poses, lens, _SIZE)


def _file(folder, kind):
  return folder / f"my path, 1=2: ü{formats.FORMATS[kind].suffix}"


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_what_is_written_is_read_back(tmp_path, kind, caplog):
  path = _path()
  formats.save(_file(tmp_path, kind), path, kind)
  found = formats.load(_file(tmp_path, kind))
  np.testing.assert_allclose(
    found.world_from_camera, path.world_from_camera, atol=2e-7
  )
  scaled = found.for_picture((96, 128), "path")
  np.testing.assert_allclose(scaled.intrinsics, 2 * path.intrinsics, rtol=1e-6)
  # RealEstate10K has shares of the size, which is said; nothing else is.
  said = [record.getMessage() for record in caplog.records]
  assert all("shares" in line for line in said)
  assert len(said) == (kind == "realestate10k")
  assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("kind", _OTHERS)
def test_a_path_of_another_program_starts_at_the_scenes_camera(tmp_path, kind):
  path = _path(name="circle_rotating")  # It starts elsewhere.
  formats.save(_file(tmp_path, kind), path, kind)
  found = formats.load(_file(tmp_path, kind)).world_from_camera
  first = np.linalg.inv(path.world_from_camera[0])
  np.testing.assert_allclose(found, first @ path.world_from_camera, atol=1e-6)


@pytest.mark.parametrize("kind", _OTHERS)
def test_a_path_without_a_lens_is_not_written(tmp_path, kind):
  path = path_lib.CameraPath(_path().world_from_camera, None)
  with pytest.raises(errors.UserError, match="needs intrinsics"):
    formats.save(_file(tmp_path, kind), path, kind)
  assert not list(tmp_path.iterdir())


def test_written_colmap_models_by_the_documented_text_format(tmp_path):
  path = _path()
  formats.save(tmp_path / "m", path, "colmap-text")
  lines = (tmp_path / "m" / "images.txt").read_text().split("\n")
  for number, line in enumerate(lines[0:18:2]):
    words = line.split(" ")
    assert int(words[0]) == int(words[8]) == number + 1
    w, x, y, z, *move = map(float, words[1:8])
    camera_from_world = np.eye(4)
    turn = transform.Rotation.from_quat([x, y, z, w])
    camera_from_world[:3, :3] = turn.as_matrix()
    camera_from_world[:3, 3] = move
    np.testing.assert_allclose(
      camera_from_world @ path.world_from_camera[number], np.eye(4), atol=1e-6
    )
    assert lines[2 * number + 1] == ""
  camera = (tmp_path / "m" / "cameras.txt").read_text().split("\n")[3].split()
  assert camera == ["4", "PINHOLE", "64", "48", "63", "61", "30", "25"]


def test_pycolmap_reads_and_writes_the_same_models(tmp_path):
  pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
  path = _path()
  for kind in ("colmap", "colmap-text"):
    formats.save(tmp_path / kind, path, kind)
    model = pycolmap.Reconstruction(str(tmp_path / kind))
    assert model.num_reg_images() == 9
    for number, image in sorted(model.images.items()):
      pose = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
      np.testing.assert_allclose(
        pose @ path.world_from_camera[number - 1], np.eye(4), atol=1e-6
      )
      lens = model.cameras[image.camera_id]
      np.testing.assert_allclose(lens.params, path.intrinsics[number - 1])
      assert (lens.height, lens.width) == _SIZE
    for again, write in (("b", model.write_binary), ("t", model.write_text)):
      (tmp_path / again).mkdir(exist_ok=True)
      write(str(tmp_path / again))
      found = formats.load(tmp_path / again)
      np.testing.assert_allclose(
        found.world_from_camera, path.world_from_camera, atol=1e-6
      )
      np.testing.assert_allclose(found.intrinsics, path.intrinsics)


def test_written_transforms_by_nerfstudios_conventions(tmp_path):
  path = _path()
  formats.save(tmp_path / "transforms.json", path, "nerfstudio")
  fields = json.loads((tmp_path / "transforms.json").read_text())
  assert (fields["w"], fields["h"]) == (64, 48)
  point = np.array([0.1, 0.4, 3.0])  # Of our world: y down, z forward.
  for frame, pose, lens in zip(
    fields["frames"], path.world_from_camera, path.intrinsics
  ):
    assert frame["fl_x"] == lens[0] and frame["cy"] == lens[3]
    # In the camera's OpenGL axes the point has y and z turned round.
    matrix = np.asarray(frame["transform_matrix"])
    seen = np.linalg.inv(matrix) @ [*(point * [1, -1, -1]), 1]
    ours = np.linalg.inv(pose.astype(np.float64)) @ [*point, 1]
    np.testing.assert_allclose(seen, ours * [1, -1, -1, 1], atol=1e-6)


def test_written_texts_by_realestate10ks_columns(tmp_path):
  path = _path()
  formats.save(tmp_path / "p.txt", path, "realestate10k")
  rows = np.loadtxt(tmp_path / "p.txt", skiprows=1)
  assert rows.shape == (9, 19)
  np.testing.assert_allclose(
    rows[:, 1:5], path.intrinsics / [64, 48, 64, 48], rtol=1e-6
  )
  poses = np.tile(np.eye(4), (9, 1, 1))
  poses[:, :3] = rows[:, 7:].reshape(9, 3, 4)
  np.testing.assert_allclose(
    poses @ path.world_from_camera, np.tile(np.eye(4), (9, 1, 1)), atol=1e-6
  )


def test_written_arrays_by_lyras_names(tmp_path):
  path = _path()
  formats.save(tmp_path / "p.npz", path, "lyra")
  with np.load(tmp_path / "p.npz") as arrays:
    np.testing.assert_allclose(
      arrays["w2c"] @ path.world_from_camera,
      np.tile(np.eye(4), (9, 1, 1)),
      atol=1e-6,
    )
    np.testing.assert_array_equal(
      arrays["intrinsics"][4], [[64, 0, 30], [0, 61, 25], [0, 0, 1]]
    )
    assert (arrays["image_height"], arrays["image_width"]) == _SIZE


def _right(shift=_SHIFT):
  poses = np.tile(np.eye(4), (len(shift), 1, 1))
  poses[:, 0, 3] = shift
  return poses


def _transforms(path, **changes):
  frames = [
    {"file_path": f"./{i}.png", "transform_matrix": pose.tolist()}
    for i, pose in enumerate(_right())
  ]
  frames.reverse()  # The order is that of the names.
  fields = {"camera_angle_x": 1.0, "frames": frames} | changes
  path.write_text(
    json.dumps({k: v for k, v in fields.items() if v is not None})
  )


def _colmap(path, ends="\n"):
  lines = ["# id qw qx qy qz tx ty tz cam name"]
  for i, x in enumerate(_SHIFT):
    lines += [f"{i + 1} 1 0 0 0 {-x} 0 0 1 {i}.png", ""]
  path.write_bytes(ends.join([*lines, ""]).encode("utf-8-sig"))


def _re10k(path):
  rows = [
    f"{i} 0.9 0.9 0.5 0.5 0 0 1 0 0 {-x} 0 1 0 0 0 0 1 0"
    for i, x in enumerate(_SHIFT)
  ]
  path.write_text("\n".join(["https://example.org/v", *rows, ""]))


def _vipe(path, order=None):
  order = np.arange(9) if order is None else order
  for folder in ("pose", "intrinsics"):
    (path.parent / folder).mkdir()
  pose = path.parent / "pose" / path.name
  np.savez(pose, data=_right()[order], inds=order)
  np.savez(
    path.parent / "intrinsics" / path.name,
    data=np.tile([50.0, 50, 32, 24], (9, 1)),
    inds=np.arange(9),
  )
  path.symlink_to(pose)
  return pose


_FOREIGN = {
  "transforms.json": (_transforms, 64 / 2 / np.tan(0.5)),
  "colmap_images.txt": (_colmap, None),
  "windows.txt": (lambda p: _colmap(p, "\r\n"), None),
  "re10k.txt": (_re10k, 57.6),
}


@pytest.mark.parametrize("name", _FOREIGN)
def test_files_of_other_programs(tmp_path, name):
  make, focal = _FOREIGN[name]
  make(tmp_path / name)
  camera_paths.check(str(tmp_path / name))
  found = camera_paths.find(str(tmp_path / name), 9, _CENTRE)
  np.testing.assert_allclose(found.world_from_camera, _right(), atol=1e-7)
  found = found.for_picture(_SIZE, name)
  if focal is None:
    assert found.intrinsics is None
  else:
    np.testing.assert_allclose(
      found.intrinsics, [[focal, focal, 32, 24]] * 9, rtol=1e-6
    )


def test_files_of_vipe_in_the_order_of_their_frames(tmp_path):
  pose = _vipe(tmp_path / "film.npz", np.random.default_rng(0).permutation(9))
  found = formats.load(pose)
  np.testing.assert_allclose(found.world_from_camera, _right(), atol=1e-7)
  np.testing.assert_array_equal(found.intrinsics[3], [50, 50, 32, 24])


@pytest.mark.parametrize(
  ("changes", "lens"),
  [
    ({"fl_x": 500, "w": 640, "h": 480}, (50, 50, 32, 24)),
    (
      {"fl_x": 500, "fl_y": 510, "cx": 330, "w": 640, "h": 480},
      (50, 51, 33, 24),
    ),
    # Half of a picture's height is cut: pixels keep their sides.
    ({"fl_x": 500, "w": 640, "h": 960}, (50, 50, 32, 24)),
    ({"fl_x": 64, "cx": 32, "cy": 24}, (64, 64, 32, 24)),
    ({"w": 640}, (32 / np.tan(0.5), 32 / np.tan(0.5), 32, 24)),
    ({"camera_angle_x": None}, None),
  ],
)
def test_the_lenses_of_nerfstudio(tmp_path, changes, lens):
  _transforms(tmp_path / "transforms.json", **changes)
  found = formats.load(tmp_path).for_picture(_SIZE, "path")  # The folder.
  if lens is None:
    assert found.intrinsics is None
  else:
    np.testing.assert_allclose(found.intrinsics[2], lens, rtol=1e-6)


def test_what_a_file_does_not_use_is_said(tmp_path, caplog):
  _transforms(tmp_path / "transforms.json", k1=0.1, w=64, h=48, fps=3)
  with caplog.at_level(logging.WARNING):
    formats.load(tmp_path)
  assert "not read: fps" in caplog.text and "distortion" in caplog.text


def _write(path, text):
  path.write_text(text)


_POSE = "1 1 0 0 0 0 0 0 1 a.png\n\n"
_BAD = {
  "fish.json": (
    lambda p: _transforms(p, camera_model="OPENCV_FISHEYE"), "undistort"
  ),
  "angle.json": (lambda p: _transforms(p, camera_angle_x=60), "in radians"),
  "no-size.json": (lambda p: _transforms(p, fl_x=500), "without w and h"),
  "frames.json": (lambda p: _transforms(p, frames=[]), "expected 'frames'"),
  "frame.json": (lambda p: _transforms(p, frames=[{}]), "transform_matrix"),
  "mirror.json": (
    lambda p: _transforms(
      p, frames=[{"transform_matrix": np.diag([-1.0, 1, 1, 1]).tolist()}]
    ),
    "mirrored",
  ),
  "deep.json": (lambda p: _write(p, '{"a":' + "[" * 99999), "not valid JSON"),
  "prose.txt": (lambda p: _write(p, "two\nlines"), "none of these"),
  "empty.txt": (lambda p: _write(p, ""), "none of these"),
  "short.txt": (lambda p: (_re10k(p), _write(p, p.read_text() + "1 2")), "19"),
  "turn.txt": (
    lambda p: _write(p, "1 3 0 0 0 0 0 0 1 a.png\n\n"), "quaternions of length"
  ),
  "half.txt": (lambda p: _write(p, _POSE + "2 1 0 0\n\n"), "in entry 3"),
  "images.bin": (lambda p: p.write_bytes(b"\x09" + bytes(30)), "too early"),
}  # fmt: skip


@pytest.mark.parametrize("name", _BAD)
def test_bad_files_of_other_programs(tmp_path, name):
  make, words = _BAD[name]
  make(tmp_path / name)
  with pytest.raises(errors.UserError, match=words) as caught:
    camera_paths.check(str(tmp_path / name))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("cameras", "words"),
  [
    ("1 OPENCV_FISHEYE 64 48 50 50 32 24 0 0 0 0", "undistort"),
    ("1 PINHOLE 64 48 50 50 32", "4 numbers of a PINHOLE"),
    ("1 NEW 64 48 50", "id, model, width"),
    ("2 PINHOLE 64 48 50 50 32 24", "lacks camera 1"),
    ("1 PINHOLE 0 48 50 50 32 24", "height and width"),
    ("1 PINHOLE 64 48 -50 50 32 24", "focal lengths positive"),
  ],
)
def test_bad_lenses_of_colmap(tmp_path, cameras, words):
  _write(tmp_path / "images.txt", _POSE)
  _write(tmp_path / "cameras.txt", cameras)
  with pytest.raises(errors.UserError, match=words):
    formats.load(tmp_path)


def test_a_folder_that_is_no_model(tmp_path):
  with pytest.raises(errors.UserError, match="none of these"):
    camera_paths.check(str(tmp_path))


def test_formats_have_names_and_endings(tmp_path):
  with pytest.raises(errors.UserError, match="found 'usd'"):
    formats.save(tmp_path / "p.json", _path(), "usd")
  with pytest.raises(errors.UserError, match=r"ending in \.npz"):
    formats.save(tmp_path / "p.json", _path(), "npz")


def test_other_numbers_of_poses_are_resampled_when_asked(tmp_path):
  path = _path(17)
  formats.save(tmp_path / "p.json", path)
  name = str(tmp_path / "p.json")
  with pytest.raises(errors.UserError, match="found 17; --resample-path"):
    camera_paths.find(name, 9, _CENTRE)
  found = camera_paths.find(name, 9, _CENTRE, resample=True)
  np.testing.assert_allclose(
    found.world_from_camera, path.world_from_camera[::2], atol=1e-6
  )
  np.testing.assert_allclose(found.intrinsics, path.intrinsics[::2], rtol=1e-6)
  finer = camera_paths.find(name, 33, _CENTRE, resample=True)
  steps = np.linalg.norm(
    np.diff(finer.world_from_camera[:, :3, 3], axis=0), axis=1
  )
  np.testing.assert_allclose(steps, steps.mean(), rtol=0.05)
