"""Photographs that move, made of scikit-image's photographs."""

import dataclasses
import pathlib

import numpy as np
import PIL.Image
import pytest
import skimage.data

from data_pipelines.photos import depth_maps, folder, records
from data_pipelines.trajscene import record_checks
from more4d_jax import errors
from more4d_jax.cli import main
from more4d_jax.data import record_directory
from more4d_jax.data import records as record_lib
from tests import nano_bundle
from tests.data_pipelines.importers import geometry_test
from tests.data_pipelines.photos import depths

STANDING = f"{depths.__name__}:standing"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  place = tmp_path_factory.mktemp("photos with a space")
  (place / "more").mkdir()
  for name in ("astronaut", "coffee", "more/chelsea"):
    picture = getattr(skimage.data, pathlib.Path(name).name)()
    PIL.Image.fromarray(picture).save(place / f"{name}.jpg", quality=95)
  (place / "coffee.txt").write_text("a cup of coffee\non a table.\n")
  return place


def options(photos, **more):
  made = records.RecordOptions(str(photos), STANDING, 9, 48, 64)
  return dataclasses.replace(made, **more)


@pytest.fixture(scope="module")
def made(photos):
  """A dozen scenes, so that every motion and several shots are among them."""
  return [records.make_record(seed, options(photos)) for seed in range(12)]


def test_they_are_records_of_true_scenes(made):
  for record in made:
    record_lib.check(record)
    assert not list(record_checks.problems(record))
    pixels = geometry_test.reprojected(record, record.tracks.reshape(9, -1, 3))
    rows, columns = np.mgrid[:48, :64] + 0.5
    asked = np.stack([columns.ravel(), rows.ravel()], -1)
    assert np.abs(pixels[0] - asked).max() < 1e-4
    np.testing.assert_allclose(
      record.depth[0], record.tracks[0, ..., 2], rtol=1e-5
    )
    moving = record.segmentation > 0
    assert 0.05 < moving.mean() < 0.6
    still = np.ptp(record.tracks[:, ~moving], axis=0)
    assert not still.any()
    assert np.ptp(record.tracks[:, moving], axis=0).max() > 0.02


def between(maps, pixels):
  """Values of [H W ...] between pixel centres, linear."""
  x, y = (pixels - 0.5).T
  left, top = np.floor(x).astype(int), np.floor(y).astype(int)
  left = np.clip(left, 0, maps.shape[1] - 2)
  top = np.clip(top, 0, maps.shape[0] - 2)
  a, b = x - left, y - top
  a, b = (s.reshape(-1, *[1] * (maps.ndim - 2)) for s in (a, b))
  return (
    maps[top, left] * (1 - a) * (1 - b)
    + maps[top, left + 1] * a * (1 - b)
    + maps[top + 1, left] * (1 - a) * b
    + maps[top + 1, left + 1] * a * b
  )


def test_points_keep_their_colour_and_their_depth_where_they_are_seen(made):
  colours, depth = [], []
  for record in made:
    tracks = record.tracks.reshape(9, -1, 3)
    pixels = geometry_test.reprojected(record, tracks)
    first = record.video[0].reshape(-1, 3).astype(float)
    for t in (3, 8):
      pose = np.linalg.inv(record.world_from_camera[t].astype(np.float64))
      z = tracks[t] @ pose[2, :3] + pose[2, 3]
      inside = ((pixels[t] > 1) & (pixels[t] < [63, 47])).all(-1)
      seen = record.visible[t].ravel() & inside
      found = between(record.video[t].astype(float), pixels[t][seen])
      colours.append(np.abs(found - first[seen]).mean(-1))
      depth.append(between(record.depth[t], pixels[t][seen]) / z[seen] - 1)
  colours, depth = np.concatenate(colours), np.abs(np.concatenate(depth))
  # Resampling blurs; a wrong motion gives the photographs' own differences,
  # 40 at the median.
  assert np.median(colours) < 5
  # Between a thing's outline and what is behind it depth is neither.
  assert np.quantile(depth, 0.9) < 0.01


def test_hidden_points_are_behind_something(made):
  hidden = behind = 0
  for record in made:
    tracks = record.tracks.reshape(9, -1, 3)
    pixels = geometry_test.reprojected(record, tracks)
    pose = np.linalg.inv(record.world_from_camera[8].astype(np.float64))
    z = tracks[8] @ pose[2, :3] + pose[2, 3]
    inside = ((pixels[8] > 1) & (pixels[8] < [63, 47])).all(-1)
    mine = inside & ~record.visible[8].ravel()
    column, row = np.floor(pixels[8][mine]).astype(int).T
    around = np.stack(
      [
        record.depth[8][row + i, column + j]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
      ]
    ).min(0)
    hidden += mine.sum()
    behind += (around < z[mine]).sum()
  assert hidden > 100 and behind > 0.97 * hidden


def test_what_is_said_is_what_was_chosen(made):
  said = {
    record.source.split()[1].rstrip(","): record.caption for record in made
  }
  assert said["coffee.jpg"].startswith("a cup of coffee on a table; ")
  words = " ".join(record.caption for record in made)
  for verb in ("camera", "in the middle"):
    assert verb in words
  assert len({record.caption for record in made}) > 8


def test_the_same_seed_gives_the_same_bytes(photos, made):
  again = records.make_record(3, options(photos))
  assert record_lib.encode(again) == record_lib.encode(made[3])


def test_other_cameras_see_the_same_scene(photos, made):
  record = records.make_record(1, options(photos, views=1))
  [view] = record.views
  np.testing.assert_array_equal(record.video, made[1].video)
  pose = np.linalg.inv(view.world_from_camera[0].astype(np.float64))
  points = record.tracks[0].reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
  fx, fy, cx, cy = record.intrinsics
  pixels = points[:, :2] / points[:, 2:] * [fx, fy] + [cx, cy]
  inside = ((pixels > 1) & (pixels < [63, 47])).all(-1)
  found = between(view.video[0].astype(float), pixels[inside])
  first = record.video[0].reshape(-1, 3)[inside].astype(float)
  assert np.median(np.abs(found - first).mean(-1)) < 6
  light = records.make_record(1, options(photos, light=True))
  np.testing.assert_array_equal(light.tracks, record.tracks)
  assert len(light.video) == 1 and not light.views


def test_without_depth_edges_only_the_camera_moves(photos):
  record = records.make_record(
    0, options(photos, depth=f"{depths.__name__}:flat")
  )
  assert "nothing moves by itself" in record.caption
  assert not record.segmentation.any()


def test_unknown_depth_stays_unknown(photos):
  record = records.make_record(
    0, options(photos, depth=f"{depths.__name__}:of_another_size")
  )
  assert not list(record_checks.problems(record))
  upper = record.depth[0][:8]
  assert np.isnan(upper).all() and np.isnan(record.tracks[:, :8]).all()
  assert np.isfinite(record.depth[0][30:]).all()
  assert not record.visible[:, :8].any()


def test_a_broken_photograph_is_left_out_and_named(photos, tmp_path):
  (tmp_path / "a.jpg").write_bytes(b"no picture")
  (tmp_path / "b.jpg").write_bytes((photos / "coffee.jpg").read_bytes())
  sources = [
    records.make_record(seed, options(tmp_path)).source for seed in (0, 1)
  ]
  assert all("photos b.jpg" in source for source in sources)
  assert sum("in place of 1 unreadable" in source for source in sources) == 1
  (tmp_path / "b.jpg").unlink()
  with pytest.raises(
    errors.UserError, match=r"in a row cannot be read.*[ab]\.jpg"
  ):
    records.make_record(0, options(tmp_path))


def test_every_photograph_has_its_turn(photos):
  names = folder.listing(str(photos))
  assert names == ("astronaut.jpg", "coffee.jpg", "more/chelsea.jpg")
  for turn in range(4):
    found = {folder.name_of(str(photos), 3 * turn + n) for n in range(3)}
    assert found == set(names)


def test_depth_from_files_and_from_a_checkpoint(photos, tmp_path):
  for name in folder.listing(str(photos)):
    file = (tmp_path / name).with_suffix(".npy")
    file.parent.mkdir(exist_ok=True)
    picture = np.asarray(PIL.Image.open(photos / name))
    np.save(file, depths.standing(picture).astype(np.float32))
  found = records.make_record(2, options(photos, depth=str(tmp_path)))
  wanted = records.make_record(2, options(photos))
  np.testing.assert_allclose(found.tracks, wanted.tracks, rtol=1e-5)
  next(tmp_path.rglob("coffee.npy")).unlink()
  provider = depth_maps.provider(str(tmp_path))
  with pytest.raises(errors.UserError, match=r"no depth of coffee\.jpg"):
    provider(None, photos / "coffee.jpg", photos)


@pytest.mark.slow
def test_depth_of_a_bundled_network(photos, tmp_path):
  checkpoint = nano_bundle.make(tmp_path / "bundle")
  record = records.make_record(0, options(photos, depth=str(checkpoint)))
  record_lib.check(record)
  assert not list(record_checks.problems(record))


def make(folder_of_photos, out, **more):
  command = ["data", "make", "--kind", "photos", "--out", str(out)]
  command += [
    "--photos",
    str(folder_of_photos),
    "--depth",
    STANDING,
    "--count",
    "2",
  ]
  command += ["--frames", "5", "--height", "24", "--width", "32"]
  for name, value in more.items():
    command += [f"--{name}", value]
  return main.main([*command, "--processes", "1"])


def test_the_command(photos, tmp_path, capsys):
  content = []
  for out in (tmp_path / "a", tmp_path / "b"):
    assert make(photos, out) == 0
    content.append(
      {
        p.relative_to(out): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file()
      }
    )
  assert content[0] == content[1]
  assert len(record_directory.open_records(tmp_path / "a")) == 2
  assert main.main(["data", "validate", str(tmp_path / "a")]) == 0
  assert make(photos, tmp_path / "a") == 0
  other = tmp_path / "other"
  other.mkdir()
  (other / "coffee.jpg").write_bytes((photos / "coffee.jpg").read_bytes())
  capsys.readouterr()
  assert make(other, tmp_path / "a") == 2
  assert "other options: source_digest" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"depth": "nowhere"}, "no depth 'nowhere'; expected a folder"),
    ({"depth": "nowhere:depth"}, "no depth function nowhere:depth"),
    ({"depth": f"{depths.__name__}:wrong"}, "what wrong returned"),
    ({"photos": "/nowhere"}, "/nowhere is no folder"),
    ({"scenes": "rigid"}, "belong to kind procedural"),
    ({"height": "8"}, "at least 16 x 16"),
    ({"frames": "1"}, "at least 5"),
    ({"kind": "procedural"}, "depth belongs to kind photos"),
  ],
)
def test_what_cannot_be_made_is_refused(
  photos, tmp_path, capsys, change, message
):
  assert make(photos, tmp_path / "out", **change) == 2
  assert message in capsys.readouterr().err
