"""Checks, counts and films of a small data set with known content."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.trajscene import generation, make, show, stats, validate
from more4d_jax import errors
from more4d_jax.cli import data
from more4d_jax.data import codec, source
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


def test_a_changed_shard_is_found(directory, tmp_path):
  for path in directory.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  shard = source.shard_paths(tmp_path, "train", 1)[0]
  shard.write_bytes(shard.read_bytes().replace(b"toy-1", b"toy-2"))
  report = validate.validate(tmp_path)
  assert "checksum differs from manifest.json" in report.problems[0]
  assert "record 1" in report.problems[1]
  with pytest.raises(errors.UserError, match="problems in the 3 records"):
    data.validate(records=str(tmp_path))


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("intrinsics", lambda k: k * np.float32([0, 1, 1, 1]), "focal lengths"),
    ("intrinsics", lambda k: k + np.float32([0, 0, 1, 0]), "1 pixels off"),
    ("depth", lambda d: d * np.float32(1.1), "differ by 10 %"),
    ("world_from_camera", lambda p: p * np.float32(2), "no rotations"),
    ("world_from_camera", lambda p: p[:, [1, 2, 0, 3]], "not the identity"),
    ("tracks", lambda t: t * np.float32(np.nan), "no point has a positive"),
  ],
)
def test_what_cannot_be_true_is_found(name, change, message):
  record = scenes.record()
  assert not list(validate.record_problems(record))
  value = change(getattr(record, name)).astype(np.float32)
  record = dataclasses.replace(record, **{name: value})
  assert message in " ".join(validate.record_problems(record))


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
  data.stats(records=str(directory), out=str(tmp_path / "stats.json"))
  assert "depth_ratio" in capsys.readouterr().out
  assert (tmp_path / "stats.json").is_file()


def test_the_film_shows_where_points_went(directory, tmp_path):
  out = tmp_path / "film.mp4"
  data.show(records=str(directory), out=str(out), count=2)
  film = codec.decode_video(out.read_bytes())
  scale = 16  # 12 rows magnified to 192.
  assert film.shape == (5, 2 * 12 * scale, 4 * 17 * scale, 3)
  record = scenes.record()
  pixels = show.record_row(record)[:, :, 2 * 17 * scale : 3 * 17 * scale]
  fx, _, cx, _ = record.intrinsics
  x, _, z = record.tracks[3, 4, 5]
  column = int((x / z * fx + cx) * scale)
  bright = pixels[3, int(4.5 * scale), column - 2 : column + 3].max(axis=-1)
  assert bright.max() > 200  # A saturated dot over a picture below 128.


@pytest.mark.parametrize(
  ("command", "arguments", "message"),
  [
    (data.show, {"first": 3}, "has 3 records"),
    (data.show, {"first": -1}, "has 3 records"),
    (data.show, {"count": 0}, "has 3 records"),
    (data.show, {"out": "film.avi"}, "ending in .mp4"),
    (data.stats, {"limit": 0}, "limit is 0"),
  ],
)
def test_impossible_choices_are_refused(
  directory, tmp_path, monkeypatch, command, arguments, message
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError, match=message):
    command(records=str(directory), **arguments)
  assert not list(tmp_path.iterdir())
