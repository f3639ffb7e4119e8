"""Damaged pictures, depth, cameras, manifests and scenes: a line, or right."""

import io
import json

import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies

from more4d_jax import depth_sources, inputs, pictures
from more4d_jax import scene as scene_lib
from more4d_jax.cli import jobs
from more4d_jax.geometry import camera_paths
from more4d_jax.geometry.camera_files import formats
from more4d_jax.geometry.camera_files import path as path_lib
from tests import fuzzing

_PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
_DEPTH = np.linspace(3, 2, 24 * 32).reshape(24, 32).astype(np.float32)
_CENTRE = np.float32([0, 0, 3])


def _picture(suffix):
  image = PIL.Image.fromarray(_PIXELS)
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  exif.get_ifd(0x8769)[0xA405] = 40
  stream = io.BytesIO()
  image.save(stream, suffix, exif=exif)
  return stream.getvalue()


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "bmp"])
def test_pictures(tmp_path, count, kind):
  path = tmp_path / f"p.{kind}"
  path.write_bytes(_picture(kind))

  def use():
    picture = pictures.from_file(path)
    return inputs.prepare(picture, None, (32, 48), fit="letterbox")

  def right(found):
    assert found.image.shape == (32, 48, 3)
    assert np.isfinite(found.intrinsics).all()

  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()), path, use, right, count=count
  )


def _saved(save, *values, **named):
  stream = io.BytesIO()
  save(stream, *values, **named)
  return stream.getvalue()


_CAMERA = np.array([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]])


@strategies.composite
def _damaged_npz(draw, arrays):
  name = draw(strategies.sampled_from(sorted(arrays)))
  array = np.asarray(arrays[name])
  if array.dtype.kind == "U":
    texts = ("", "{}", "[1]", '{"a": NaN}', "[" * 9999, 7, b"\xff")
    array = np.asarray(draw(strategies.sampled_from(texts)))
    what = "another text"
  else:
    what, array = draw(fuzzing.damaged_array(array))
  kind = draw(strategies.sampled_from(("changed", "lost", "renamed")))
  found = {**arrays, name: array}
  if kind != "changed":
    found = dict(arrays)
    array = found.pop(name)
    if kind == "renamed":
      found[f"{name}2"] = array
  return fuzzing.Damaged(f"{name} {kind} {what}", _saved(np.savez, **found))


_DEPTHS = {
  "d.npy": _saved(np.save, _DEPTH),
  "d.npz": _saved(np.savez_compressed, depth=_DEPTH, intrinsics=_CAMERA),
  "d.png": _saved(
    PIL.Image.fromarray((_DEPTH * 1000).astype(np.uint16)).save, "png"
  ),
  "d.tif": _saved(PIL.Image.fromarray(_DEPTH).save, "tiff"),
}


def _depth_is_right(found):
  assert found.depth.shape == found.valid.shape and found.valid.any()
  known = found.depth[found.valid]
  assert np.isfinite(known).all() and (known > 0).all()
  assert 0.01 <= np.median(known) <= 500
  assert np.isfinite(found.filled()).all()
  if found.intrinsics is not None:
    assert (found.intrinsics[:2] > 0.2 * found.depth.shape[1] - 1e-3).all()


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.parametrize("name", _DEPTHS)
def test_depth(tmp_path, count, name):
  path = tmp_path / name
  path.write_bytes(_DEPTHS[name])
  mishaps = fuzzing.damaged_bytes(_DEPTHS[name])
  if name == "d.npz":
    arrays = {"depth": _DEPTH, "intrinsics": _CAMERA, "unit": "m"}
    mishaps |= _damaged_npz(arrays)
  fuzzing.fuzz(
    mishaps,
    path,
    lambda: depth_sources.from_file(path),
    _depth_is_right,
    count=count,
  )


def _path():
  lens = np.tile(np.float32([40, 40, 16, 12]), (5, 1))
  poses = camera_paths.named_path("surrounding", 5, _CENTRE)
  return path_lib.CameraPath(poses, lens, (24, 32))


def _path_is_right(found):
  turn = found.world_from_camera[:, :3, :3]
  product = turn @ np.swapaxes(turn, 1, 2)
  np.testing.assert_allclose(product, np.tile(np.eye(3), (5, 1, 1)), atol=5e-3)
  assert np.isfinite(found.world_from_camera).all()
  assert (np.linalg.det(turn) > 0).all()
  if found.intrinsics is not None:
    assert np.isfinite(found.intrinsics).all()
    assert (found.intrinsics[:, :2] > 0).all()


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.parametrize("kind", formats.FORMATS)
def test_cameras(tmp_path, count, kind):
  name = tmp_path / f"path{formats.FORMATS[kind].suffix}"
  formats.save(name, _path(), kind)
  path = name
  if name.is_dir():
    path = next(p for p in name.iterdir() if p.stem == "images")
  mishaps = fuzzing.damaged_bytes(path.read_bytes())
  if name.suffix == ".json":
    mishaps |= fuzzing.damaged_json(json.loads(path.read_text()))
  if name.suffix == ".npz":
    with np.load(path) as archive:
      mishaps |= _damaged_npz({key: archive[key] for key in archive.files})

  def use():
    found = camera_paths.find(str(name), 5, _CENTRE, resample=True)
    return found.for_picture((24, 32), str(name))

  fuzzing.fuzz(mishaps, path, use, _path_is_right, count=count)


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.parametrize("kind", ["colmap", "colmap-text"])
def test_colmaps_lenses(tmp_path, count, kind):
  formats.save(tmp_path / "model", _path(), kind)
  (path,) = (tmp_path / "model").glob("cameras.*")

  def use():
    found = camera_paths.find(str(tmp_path / "model"), 5, _CENTRE)
    return found.for_picture((24, 32), "model")

  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()),
    path,
    use,
    _path_is_right,
    count=count,
  )


@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_manifests(tmp_path, count):
  path = tmp_path / "list.jsonl"
  line = {"image": "a, ü.png", "prompt": "it rolls", "depth": "a.npy"}
  path.write_text(json.dumps(line))

  def right(found):
    assert all(job.name and isinstance(job.prompt, str) for job in found)

  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()) | fuzzing.damaged_json(line),
    path,
    lambda: jobs.find_jobs(path, jobs.Words(), None),
    right,
    count=count,
  )


@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_scenes(tmp_path, count):
  points = np.stack([np.zeros_like(_DEPTH), _DEPTH, _DEPTH], -1)
  scene = scene_lib.Scene(
    np.stack([points] * 2),
    np.ones((2, 24, 32), bool),
    _PIXELS,
    np.float32([40, 40, 16, 12]),
    8.0,
    {"prompt": "p"},
  )
  path, out = tmp_path / "scene.npz", tmp_path / "out"
  scene.save(path)
  with np.load(path) as archive:
    arrays = {key: archive[key] for key in archive.files}
  command = ["export", "--scene", str(path), "--to", "ply", "--out", str(out)]
  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()) | _damaged_npz(arrays),
    path,
    lambda: fuzzing.command(command),
    lambda printed: printed.index("ply"),
    count=count,
  )
