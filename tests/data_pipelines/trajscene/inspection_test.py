"""Checks, counts and films of a small data set with known content."""

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest

from data_pipelines.trajscene import (
  drawing,
  generation,
  make,
  record_checks,
  show,
  stats,
  validate,
)
from more4d_jax import errors
from more4d_jax.cli import data
from more4d_jax.data import record_directory, records
from more4d_jax.data.codec import array_codec
from tests.data import scenes
from tests.data_pipelines.trajscene import toy


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  out = tmp_path_factory.mktemp("inspected") / "records"
  return make.make_records(
    make.MakeOptions(
      str(out), generation.SceneOptions(3, 5, 12, 17), progress=False
    ),
    toy.generate,
  )


def test_a_good_data_set_has_no_problems(directory, capsys):
  assert validate.validate(directory) == validate.Report(3, ())
  data.validate(records=str(directory))
  assert "3 records" in capsys.readouterr().out


@pytest.fixture
def copied(directory, tmp_path):
  for path in directory.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  return tmp_path


def test_a_changed_shard_is_named_with_its_records(copied):
  shard = record_directory.shard_paths(copied, "train", 1)[0]
  shard.write_bytes(shard.read_bytes().replace(b"toy-1", b"toy-2"))
  report = validate.validate(copied)
  assert report.problems[0] == (
    f"{shard} (records 0 to 2): checksum differs from manifest.json"
  )
  assert report.problems[1].startswith("record 1 ")
  with pytest.raises(errors.UserError, match="problems in the 3 records"):
    data.validate(records=str(copied))


def test_a_torn_shard_is_named_once_with_its_records(copied):
  shard = record_directory.shard_paths(copied, "train", 1)[0]
  shard.write_bytes(shard.read_bytes()[:1000])
  lines = validate.validate(copied).problems
  assert "checksum differs" in lines[0]
  assert lines[1].startswith("record 0 ") and "is damaged" in lines[1]
  assert lines[2] == f"{shard}: damaged are its records 0 to 2"
  assert len(lines) == 3


def test_files_that_do_not_fit_each_other_are_named(copied, directory):
  (copied / "traj_scene-train.array_record-00001-of-00009").write_bytes(b"")
  (copied / "x.incomplete").write_bytes(b"")
  features = json.loads((copied / "features.json").read_text())
  fields = features["featuresDict"]["features"]
  fields["colour"] = fields.pop("depth")
  (copied / "features.json").write_text(json.dumps(features))
  manifest = json.loads((copied / "manifest.json").read_text())
  manifest["shards"][0]["records"] = 7
  (copied / "manifest.json").write_text(json.dumps(manifest))
  found = "\n".join(validate.validate(copied).problems)
  for part in (
    "x.incomplete: left over",
    "00001-of-00009: not one of the shards",
    "fields differ from those of this version: colour, depth",
    "manifest.json counts 7 records, dataset_info.json 3",
  ):
    assert part in found
  assert found.count("\n") == 3
  (copied / "manifest.json").unlink()
  report = validate.validate(copied)
  assert report.notes == (
    f"{copied} has no manifest.json: checksums not compared",
  )


def test_two_records_of_one_id_are_found(tmp_path):
  make.make_records(
    make.MakeOptions(
      str(tmp_path),
      generation.SceneOptions(2, 5, 12, 17),
      progress=False,
      processes=1,
    ),
    lambda place, options: toy.generate(0, options),
  )
  (line,) = validate.validate(tmp_path).problems
  assert line.startswith("record 1 (toy-0): same id as record 0 of traj_scene")


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("intrinsics", lambda k: k * np.float32([0, 1, 1, 1]), "focal lengths"),
    ("intrinsics", lambda k: k + np.float32([0, 0, 1, 0]), "1 pixels off"),
    ("depth", lambda d: d * np.float32(1.1), "differ by 10 %"),
    ("world_from_camera", lambda p: p * np.float32(2), "no rotations"),
    ("world_from_camera", lambda p: p[:, [1, 2, 0, 3]], "not the identity"),
    ("world_from_camera", lambda p: p + np.eye(4)[::-1], "no rotations"),
    ("world_from_camera", lambda p: p + np.eye(4)[3] / 9, "no rigid"),
    ("tracks", lambda t: t * np.float32(np.nan), "no point has a positive"),
    ("tracks", lambda t: _behind(t), "12 visible places lie outside"),
    ("depth", lambda d: -d, "unknown depth is NaN"),
    ("fps", lambda f: -f, "fps is -8.0"),
    ("frame_indices", lambda i: i[::-1], "do not increase"),
    ("tracks", lambda t: t * np.float32(1e30), "above 500"),
    ("visible", lambda v: v, ""),
  ],
)
def test_what_cannot_be_true_is_found(name, change, message):
  record = scenes.record()
  seen = record.visible.copy()
  seen[1, :3, :4] = True
  record = dataclasses.replace(record, visible=seen)
  assert not list(record_checks.problems(record))
  value = change(getattr(record, name))
  if name not in ("fps", "visible"):
    value = value.astype(getattr(record, name).dtype)
  record = dataclasses.replace(record, **{name: value})
  found = list(record_checks.problems(record))
  assert message in " ".join(found)
  assert bool(found) == bool(message)


def _behind(tracks):
  tracks = tracks.copy()
  tracks[1, :3, :4, 2] *= -1
  return tracks


def test_invalid_points_are_not_visible():
  record = scenes.record()
  tracks, depth = record.tracks.copy(), record.depth.copy()
  tracks[:, 3, 4] = depth[:, 3, 4] = np.nan
  seen = record.visible.copy()
  seen[:, 3, 4] = False
  record = dataclasses.replace(record, tracks=tracks, depth=depth, visible=seen)
  assert not list(record_checks.problems(record))
  seen[2, 3, 4] = True
  (line,) = record_checks.problems(record)
  assert line == "1 points without a first depth are marked visible"


def test_records_kept_with_a_loss_are_within_the_looser_bounds():
  options = generation.SceneOptions(1, 5, 48, 64, version=2)
  for place in range(2):
    record = generation.generate(place, options)
    fields = records.encode(
      record, records.EncodeOptions(tracks_tolerance=5e-3)
    )
    kept = records.decode(fields)
    precision = record_checks.Precision.of(records.read_header(fields))
    assert precision.tracks == 5e-3 and precision.depth == 5e-4
    assert not list(record_checks.problems(kept, precision))
    # Off by more than the codec may move a point.
    moved = kept.tracks + np.float32(0.1)
    kept = dataclasses.replace(kept, tracks=moved)
    assert list(record_checks.problems(kept, precision))


def _sparse():
  """Three points of the toy scene, asked for in frames 0, 2 and 4."""
  record = scenes.record()
  fx, fy, cx, cy = record.intrinsics
  tracks = record.tracks[:, [3, 5, 8], [4, 9, 12]]
  asked = np.int32([0, 2, 4])
  places = tracks[asked, np.arange(3)]
  pixels = np.stack(
    [
      places[:, 0] / places[:, 2] * fx + cx,
      places[:, 1] / places[:, 2] * fy + cy,
    ],
    axis=-1,
  )
  points = records.Points(
    pixels.astype(np.float32), asked, tracks, np.ones((5, 3), bool)
  )
  return dataclasses.replace(record, tracks=None, visible=None, points=points)


def test_sparse_records_are_checked_counted_and_drawn():
  record = _sparse()
  assert not list(record_checks.problems(record))
  moved = dataclasses.replace(
    record.points, pixels=record.points.pixels + np.float32(1)
  )
  (line,) = record_checks.problems(dataclasses.replace(record, points=moved))
  assert "points are up to 1.41 pixels off" in line
  tracks = record.points.tracks.copy()
  tracks[3, 1] = np.nan
  unknown = dataclasses.replace(record.points, tracks=tracks)
  (line,) = record_checks.problems(dataclasses.replace(record, points=unknown))
  assert line == "1 places are visible, but their position is unknown"
  found = stats.measures(record)
  assert found["visible"] == 1 and found["valid"] == 1
  row = drawing.record_row(record)
  assert row.shape == (5, 192, 3 * 17 * 16, 3)
  with pytest.raises(errors.UserError, match="is sparse"):
    show.as_scene(record)


def test_counts_are_those_of_the_scene(directory, tmp_path, capsys):
  found = stats.stats(directory)
  assert found["records"] == 3 and found["shapes"] == {"5x12x17": 3}
  assert found["captions"] == 3 and found["words"]["slides"] == 3
  record = scenes.record()
  farthest = max(np.hypot(0.1 * np.sin(t), 0.01 * t) for t in range(5))
  share = (record.segmentation > 0).mean()
  np.testing.assert_allclose(found["quantiles"]["moving"], share)
  # Coordinates are kept within 5e-4 of depths of 3 to 4 metres.
  np.testing.assert_allclose(found["quantiles"]["motion"], farthest, atol=2e-3)
  np.testing.assert_allclose(found["quantiles"]["valid"], 1)
  # The square moves along x by 0.1 m at depths of 3 to 4 m.
  first = record.tracks[0][record.segmentation > 0]
  ways = [
    abs(
      (first[:, 0] + 0.1 * np.sin(t)) / (first[:, 2] + 0.01 * t)
      - first[:, 0] / first[:, 2]
    )
    for t in range(5)
  ]
  expected = 20 * np.max(ways, axis=0).mean() / 17
  assert found["quantiles"]["pixels"][0] == pytest.approx(expected, rel=0.05)
  assert found["quantiles"]["words"] == [6] * 5
  data.stats(
    records=str(directory),
    out=str(tmp_path / "stats.json"),
    plots=str(tmp_path / "stats.png"),
  )
  assert "depth_ratio" in capsys.readouterr().out
  assert json.loads((tmp_path / "stats.json").read_text())["views"] == 0
  with PIL.Image.open(tmp_path / "stats.png") as page:
    drawn = np.asarray(page.convert("RGB"))
  assert (drawn == [31, 119, 180]).all(axis=-1).sum() > 1000  # Blue bars.


def test_the_film_shows_where_points_went(directory, tmp_path):
  out = tmp_path / "film.mp4"
  data.show(records=str(directory), out=str(out), count=2)
  film = array_codec.decode_video(out.read_bytes())
  scale = 16  # 12 rows magnified to 192.
  assert film.shape == (5, 2 * (16 + 12 * scale), 4 * 17 * scale, 3)
  assert film[:, :16].max() > 200  # The caption.
  record = scenes.record()
  pixels = drawing.record_row(record)[:, :, 2 * 17 * scale : 3 * 17 * scale]
  fx, _, cx, _ = record.intrinsics
  x, _, z = record.tracks[3, 4, 5]
  column = int((x / z * fx + cx) * scale)
  bright = pixels[3, int(4.5 * scale), column - 2 : column + 3].max(axis=-1)
  assert bright.max() > 200  # A saturated dot over a picture below 128.


def test_a_page_holds_the_points_of_the_record(directory, tmp_path, capsys):
  out = tmp_path / "pages" / "scene.html"
  data.show(records=str(directory), out=str(out), first=1)
  pages = sorted(out.parent.iterdir())
  assert [page.name for page in pages] == [
    "scene_00001.html",
    "scene_00002.html",
  ]
  assert "square 1 slides to the right" in pages[0].read_text()
  assert str(pages[1]) in capsys.readouterr().out


def test_points_of_each_camera_are_shown_in_the_first_ones_frame():
  record = scenes.record()
  pose = np.repeat(np.eye(4, dtype=np.float32)[None], 5, axis=0)
  pose[:, :3, 3] = np.linspace([0, 0, 0], [0.3, 0.1, -0.2], 5)
  pose[:, :3, :3] = [
    [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    for a in np.linspace(0, 0.3, 5)
  ]
  own = np.einsum(
    "tji,thwj->thwi",
    pose[:, :3, :3],
    record.tracks - pose[:, None, None, :3, 3],
  ).astype(np.float32)
  moved = dataclasses.replace(
    record, tracks=own, world_from_camera=pose, tracks_frame="each_camera"
  )
  np.testing.assert_allclose(
    show.as_scene(moved).tracks, record.tracks, atol=1e-5
  )
  fixed = dataclasses.replace(record, world_from_camera=pose)
  np.testing.assert_array_equal(
    drawing.record_row(moved)[4, :, 2 * 272 : 3 * 272],
    drawing.record_row(fixed)[4, :, 2 * 272 : 3 * 272],
  )


def test_a_sheet_shows_records_from_all_over_the_data_set(directory, tmp_path):
  out = tmp_path / "sheet.png"
  data.show(str(directory), out=str(out), sheet=2)
  picture = np.asarray(PIL.Image.open(out))
  # Two cells: a line of 16 pixels, and three panels of 96 x 136.
  assert picture.shape == (116, 2 * (3 * 136 + 4), 3)
  opened = record_directory.open_records(directory)
  for left, number in ((0, 0), (412, 1)):
    record = opened[number].decode()
    shown = picture[16:112, left : left + 136].reshape(12, 8, 17, 8, 3)
    # Bicubic enlargement keeps the middle of a pixel near its colour.
    middle = shown.astype(float)[:, 3:5, :, 3:5].mean((1, 3))
    assert np.abs(middle - record.video[0]).mean() < 6
    depth = picture[16:112, left + 136 : left + 272].astype(int)
    valid = np.isfinite(record.depth[0]) & (record.depth[0] > 0)
    near = np.where(valid, record.depth[0], np.inf).argmin()
    row, column = np.unravel_index(near, valid.shape)
    red, _, blue = depth[row * 8 + 4, column * 8 + 4]
    assert red > blue  # Near is red.
    trails = picture[16:112, left + 272 : left + 408].astype(int)
    assert (np.ptp(trails, axis=-1) > 150).sum() > 50  # Saturated lines.


@pytest.mark.parametrize(
  ("command", "arguments", "message"),
  [
    (data.show, {"first": 3}, "has 3 records"),
    (data.show, {"first": -1}, "has 3 records"),
    (data.show, {"count": 0}, "has 3 records"),
    (data.show, {"out": "film.avi"}, "ending in .mp4 or .html"),
    (data.show, {"sheet": 4}, "ending in .png"),
    (data.show, {"sheet": 0, "out": "a.png"}, "--sheet of at least 1"),
    (data.stats, {"limit": 0}, "limit is 0"),
    (data.stats, {"plots": "page.pdf"}, "ending in .png"),
    (data.stats, {"plots": "nowhere/page.png"}, "no such folder"),
  ],
)
def test_impossible_choices_are_refused(
  directory, tmp_path, monkeypatch, command, arguments, message
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError, match=message):
    command(records=str(directory), **arguments)
  assert not list(tmp_path.iterdir())
