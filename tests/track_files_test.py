"""TAPVid-3D's files: a round trip, the importer, and plain NumPy."""

import io
import shutil

import numpy as np
import PIL.Image
import pytest

from data_pipelines.importers import kinds
from data_pipelines.importers import scene as importer_scene
from more4d_jax import errors, track_files
from more4d_jax import scene as scene_lib
from more4d_jax.viewing import export


def _scene():
  """A slanted wall whose left half moves to the right, 6 x 8 points."""
  focal, height, width = 8.0, 6, 8
  x = (np.arange(width) + 0.5 - 4) / focal
  y = (np.arange(height)[:, None] + 0.5 - 3) / focal
  depth = np.broadcast_to(2 + 0.1 * np.arange(height)[:, None], (height, width))
  first = np.stack(np.broadcast_arrays(x * depth, y * depth, depth), -1)
  tracks = np.repeat(first[None], 5, 0).astype(np.float32)
  tracks[:, :, :4, 0] += 0.05 * np.arange(5)[:, None, None]
  visible = np.random.default_rng(0).random((5, height, width)) < 0.8
  visible[0] = True
  return scene_lib.Scene(
    tracks=tracks,
    visible=visible,
    colours=np.full((height, width, 3), 90, np.uint8),
    intrinsics=np.asarray([focal, focal, 4, 3], np.float32),
    fps=8.0,
  )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tracks")
  return _scene(), export.export(_scene(), ["tapvid3d"], folder)["tapvid3d"]


def test_plain_numpy_reads_what_its_authors_document(exported):
  scene, path = exported
  with np.load(path, allow_pickle=False) as file:
    found = dict(file)
  assert set(found) == {
    "images_jpeg_bytes",
    "tracks_XYZ",
    "visibility",
    "fx_fy_cx_cy",
    "queries_xyt",
  }
  np.testing.assert_array_equal(
    found["tracks_XYZ"], scene.tracks.reshape(5, 48, 3)
  )
  np.testing.assert_array_equal(
    found["visibility"], scene.visible.reshape(5, 48)
  )
  # A point is where its query says, in the frame that it says.
  fx, fy, cx, cy = found["fx_fy_cx_cy"]
  points = found["tracks_XYZ"][0]
  xy = points[:, :2] / points[:, 2:] * [fx, fy] + [cx, cy]
  np.testing.assert_allclose(found["queries_xyt"][:, :2], xy, atol=1e-5)
  assert not found["queries_xyt"][:, 2].any()
  pictures = [
    np.asarray(PIL.Image.open(io.BytesIO(data)))
    for data in found["images_jpeg_bytes"]
  ]
  assert np.stack(pictures).shape == (5, 6, 8, 3)
  assert abs(pictures[0].astype(int) - 90).max() < 4  # JPEG.


def test_the_importer_reads_the_same(exported, tmp_path):
  scene, path = exported
  shutil.copy(path, tmp_path / "clip.npz")
  kind = kinds.module("tapvid3d")
  (unit,) = kind.units([str(tmp_path)])
  (entry,) = kind.found(unit, importer_scene.Settings())
  found = entry.read()
  np.testing.assert_array_equal(found.tracks, scene.tracks.reshape(5, 48, 3))
  np.testing.assert_array_equal(found.visible, scene.visible.reshape(5, 48))
  assert found.size == (6, 8)


def test_round_trip(exported):
  scene, path = exported
  film = track_files.read_film(path)
  np.testing.assert_array_equal(
    film.tracks.positions, scene.tracks.reshape(5, 48, 3)
  )
  np.testing.assert_array_equal(
    film.tracks.visible, scene.visible.reshape(5, 48)
  )
  assert film.size == (6, 8) and film.intrinsics.tolist() == [8, 8, 4, 3]


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"visibility": np.ones((5, 3), bool)}, "(5, 3)"),
    ({"tracks_XYZ": np.full((5, 48, 3), "x")}, "expected numbers"),
    ({"fx_fy_cx_cy": np.zeros(4)}, "above 0"),
    ({"images_jpeg_bytes": np.array([b"no"] * 5)}, "JPEG"),
    ({"visibility": None}, "visibility"),
  ],
)
def test_damaged_files_are_refused_in_one_line(
  exported, tmp_path, change, words
):
  with np.load(exported[1]) as file:
    content = {**file, **change}
  path = tmp_path / "film.npz"
  np.savez(path, **{k: v for k, v in content.items() if v is not None})
  with pytest.raises(errors.UserError, match=r"film\.npz") as caught:
    track_files.read_film(path)
  assert words in str(caught.value) and "\n" not in str(caught.value)


def test_no_file_and_no_archive(tmp_path):
  (tmp_path / "a.npz").write_text("text")
  for name in ("a.npz", "b.npz"):
    with pytest.raises(errors.UserError, match="TAPVid-3D's layout"):
      track_files.read_tracks(tmp_path / name)
