"""Films without tracks become records, by a user's own functions."""

import json

import numpy as np
import pytest

from data_pipelines.importers import geometry
from data_pipelines.tracking import films
from more4d_jax.cli import main
from more4d_jax.data import record_directory
from more4d_jax.viewing import video

_SIZE = (48, 64)
_NAME = "tests.data_pipelines.tracking.films_test"


def flat_depth(pixels):
  return np.full(pixels.shape[:2], 4.0)


def still(film):
  grid = geometry.pixel_grid(*film.shape[1:3])
  moved = grid + 0.5 * np.arange(len(film))[:, None, None, None]
  return moved, (moved < film.shape[2:0:-1]).all(-1)


def too_small(film):
  return still(film[:, 1:])


def nothing(film):
  return None


@pytest.fixture
def folder(tmp_path):
  source = tmp_path / "films"
  source.mkdir()
  noise = np.random.default_rng(0).integers(0, 255, (30, *_SIZE, 3), np.uint8)
  video.write_video(source / "one.mp4", noise, 24)
  (source / "one.txt").write_text("snow on a screen\n")
  return source


def _run(source, out, *more, tracker="still", depth="flat_depth"):
  return main.main(
    [
      "data",
      "track",
      str(source),
      *("--out", str(out)),
      *("--frames", "5"),
      *("--processes", "1"),
      *("--tracker", f"{_NAME}:{tracker}"),
      *(["--depth", f"{_NAME}:{depth}"] if depth else []),
      *more,
    ]
  )


def test_a_film_becomes_clips_with_lifted_points(folder, tmp_path):
  assert _run(folder, tmp_path / "out", "--no-curated") == 0
  found = record_directory.open_records(tmp_path / "out")
  assert len(found) == 3  # 15 frames at 12 a second, 5 in each.
  record = found[1].decode()
  assert record.caption == "snow on a screen"
  assert record.fps == 12
  assert record.frame_indices.tolist() == [10, 12, 14, 16, 18]
  assert record.tracks_frame == "each_camera"
  assert record.cameras == "unknown"
  focal = 32 / np.tan(np.radians(30))
  np.testing.assert_allclose(record.intrinsics, [focal, focal, 32, 24])
  shift = (record.tracks[4] - record.tracks[0])[:, :, :2]
  expected = np.full_like(shift, 0.5 * 4 * 4.0 / focal)
  np.testing.assert_allclose(shift, expected, atol=4 * 5e-4)


def test_with_estimated_cameras_what_stands_still_stays_where_it_is(
  folder, tmp_path
):
  """The whole picture goes to the side: the camera moves, the world stands."""
  pytest.importorskip("cv2", reason="OpenCV is the extra [track]")
  more = ("--no-curated", "--cameras", "estimated")
  assert _run(folder, tmp_path / "out", *more) == 0
  record = record_directory.open_records(tmp_path / "out")[0].decode()
  assert record.cameras == "estimated"
  assert record.tracks_frame == "first_camera"
  assert not (record.world_from_camera[4] == np.eye(4)).all()
  moved = np.abs(record.tracks[4] - record.tracks[0])
  unmoved = 0.5 * 4 * 4.0 / record.intrinsics[0]
  assert np.nanmedian(moved) < 0.1 * unmoved


def test_what_was_tracked_and_what_is_good_lie_apart(folder, tmp_path):
  thresholds = ("--threshold", "motion=off", "frozen=off", "jerk=off")
  assert _run(folder, tmp_path / "out", *thresholds) == 0
  root = tmp_path / "out" / "traj_scene"
  report = json.loads(
    next(root.glob("films_tracked/*/report.json")).read_text()
  )
  assert report["taken"] == 3
  assert next(root.glob("films/*/curation.jsonl")).is_file()


def test_depth_files_belong_to_the_frames_of_the_film(folder, tmp_path):
  maps = np.arange(1, 31, dtype=np.float32)[:, None, None] * np.ones(_SIZE)
  np.save(folder / "one.depth.npy", maps)
  assert _run(folder, tmp_path / "out", "--no-curated", depth=None) == 0
  record = record_directory.open_records(tmp_path / "out")[1].decode()
  np.testing.assert_allclose(
    record.tracks[:, 5, 5, 2], [11, 13, 15, 17, 19], rtol=1e-3
  )


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"tracker": "too_small"}, "expected (5, 48, 64, 2) and (5, 48, 64)"),
    ({"tracker": "nothing"}, "expected a pair of positions and visibility"),
    ({"tracker": "absent"}, "no tracker function"),
    ({"depth": "absent"}, "no depth function"),
    ({"depth": None}, "no one.depth.npy beside it; name --depth"),
  ],
)
def test_bad_trackers_and_depth_are_one_line(
  folder, tmp_path, capsys, options, words
):
  assert _run(folder, tmp_path / "out", **options) == 2
  assert words in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (("--fov", "180"), "expected an angle of 1 to 179 degrees"),
    (("--fps", "0"), "fps must be positive"),
    (("--cameras", "exact"), "'exact'; expected unknown or estimated"),
    (("--width", "8"), "--width is 8; expected at least 16"),
    (("--frames", "6"), "expected 4k + 1"),
  ],
)
def test_bad_numbers_are_one_line(folder, tmp_path, capsys, flags, words):
  assert _run(folder, tmp_path / "out", *flags) == 2
  assert words in capsys.readouterr().err


def test_a_damaged_film_does_not_stop_the_others(folder, tmp_path, capsys):
  (folder / "bad.mp4").write_bytes(b"no film at all")
  assert _run(folder, tmp_path / "out", "--no-curated") == 0
  assert "the video cannot be decoded" in capsys.readouterr().out


def test_a_grid_keeps_the_aspect_of_the_film():
  assert films.grid_size((1080, 1920), (368, 512)) == (288, 512)
  assert films.grid_size((1920, 1080), (368, 512)) == (368, 192)
  assert films.grid_size((50, 70), (368, 512)) == (48, 64)
