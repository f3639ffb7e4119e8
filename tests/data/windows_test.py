"""Windows against the records they are cut from."""

import dataclasses

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import windows
from tests.data import scenes


def _one_mover(rows, columns):
  """A record of still points, but for a block that moves across."""
  record = scenes.record(frames=9)
  tracks = np.repeat(record.tracks[:1], 9, axis=0)
  across = 0.1 * np.arange(9, dtype=np.float32)
  tracks[:, rows, columns, 0] += across[:, None, None]
  return dataclasses.replace(record, tracks=tracks)


def test_windows_hold_what_moves_and_are_cut_from_the_whole():
  record = _one_mover(slice(5, 7), slice(9, 11))
  window = windows.MotionWindow(8, anywhere=0.0)
  corners = set()
  for seed in range(30):
    found = window(record, None, np.random.default_rng(seed))
    tracks, (_, _, cx, cy) = found["tracks"], found["intrinsics"]
    left, top = record.intrinsics[2:] - [cx, cy]
    left, top = round(float(left)), round(float(top))
    corners.add((top, left))
    whole = record.tracks[:, top : top + 8, left : left + 8]
    np.testing.assert_array_equal(tracks, whole)
    moved = np.abs(tracks - tracks[:1]).max(axis=(0, 3))
    assert (moved > 0.1).any()
    np.testing.assert_array_equal(
      found["intrinsics"][:2], record.intrinsics[:2]
    )
  assert len(corners) > 10


def test_windows_lie_anywhere_where_nothing_moves_or_by_choice():
  still = _one_mover(slice(0, 0), slice(0, 0))
  moving = _one_mover(slice(0, 2), slice(0, 2))
  for record, window in (
    (still, windows.MotionWindow(8, anywhere=0.0)),
    (moving, windows.MotionWindow(8, anywhere=1.0)),
  ):
    lefts = [
      record.intrinsics[2]
      - window(record, None, np.random.default_rng(s))["intrinsics"][2]
      for s in range(40)
    ]
    assert min(lefts) == 0 and max(lefts) == record.tracks.shape[2] - 8


def test_a_window_larger_than_the_picture_is_refused():
  record = _one_mover(slice(0, 2), slice(0, 2))
  for window in (windows.MotionWindow(400), windows.VideoWindow(400)):
    with pytest.raises(errors.UserError, match="window of 400 pixels does not"):
      window(record, None, np.random.default_rng(0))


def test_windows_of_films_and_depth_are_the_same_part_of_the_whole():
  record = scenes.record(frames=5)
  # Depth that tells its place.
  places = np.arange(record.depth[0].size, dtype=np.float32)
  depth = record.depth * 0 + places.reshape(record.depth[0].shape)
  record = dataclasses.replace(record, depth=depth)
  corners = set()
  for seed in range(60):
    found = windows.VideoWindow(8)(record, None, np.random.default_rng(seed))
    top, left = divmod(int(found["depth"][0, 0, 0]), record.video.shape[2])
    part = np.s_[:, top : top + 8, left : left + 8]
    np.testing.assert_array_equal(found["video"], record.video[part])
    np.testing.assert_array_equal(found["depth"], depth[part])
    corners.add((top, left))
  tops, lefts = zip(*corners)
  height, width = record.video.shape[1:3]
  assert (min(tops), min(lefts)) == (0, 0)
  assert (max(tops), max(lefts)) == (height - 8, width - 8)
