import numpy as np
import pytest

from more4d_jax.viewing import panels

_INTRINSICS = np.asarray([20.0, 20.0, 12.0, 8.0], np.float32)


def _tracks(step=(0.0, 0.0, 0.0), frames=4):
  rows, columns = np.mgrid[:16, :24] + 0.5
  z = np.full((16, 24), 2.0)
  first = np.stack([(columns - 12) / 20 * z, (rows - 8) / 20 * z, z], axis=-1)
  steps = np.arange(frames)[:, None, None, None] * np.asarray(step)
  return (first + steps).astype(np.float32)


def _grey():
  return np.full((16, 24, 3), 100, np.uint8)


def test_side_by_side_keeps_every_panel():
  rng = np.random.default_rng(0)
  one = rng.integers(0, 256, (3, 10, 8, 3), dtype=np.uint8)
  two = rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
  joined = panels.side_by_side([one, two])
  np.testing.assert_array_equal(joined[:, :10, :8], one)
  np.testing.assert_array_equal(joined[:, :6, -5:], two)
  assert (joined[:, 6:, -5:] == 255).all()
  below = panels.stacked([one, two])
  np.testing.assert_array_equal(below[:, -6:, :5], two)
  labelled = panels.side_by_side([one, one], ["left", "right"])
  np.testing.assert_array_equal(labelled[:, -10:, :8], one)
  assert (labelled[:, :-10, :8] < 128).any()  # There is ink in the label.


def test_panels_must_fit():
  video = np.zeros((3, 4, 4, 3), np.uint8)
  with pytest.raises(ValueError, match="equal length"):
    panels.side_by_side([video, video[:2]])
  with pytest.raises(ValueError, match="1 labels"):
    panels.side_by_side([video, video], ["a"])


def test_trails_follow_the_points():
  options = panels.TrailOptions(factor=4, points=1, fade=0.0)
  # One trail that starts in the middle and moves right by 5 pixels a frame
  # at depth 2: 0.5 m a frame times 20 px / 2 m.
  tracks = _tracks((0.5, 0.0, 0.0), frames=3)
  video = panels.trails(_grey(), tracks, _INTRINSICS, options)
  assert video.shape == (3, 64, 96, 3)
  for t in range(3):
    ink = np.argwhere((video[t] < 250).any(-1))
    rows, columns = ink.min(0), ink.max(0)
    # The grid takes one row and column of the picture.
    start = columns[1] - rows[1] - 4 * 5 * t
    assert -1 <= start <= 5  # The dot's own size.
    assert columns[0] - rows[0] <= 5  # No vertical motion.


def test_trails_stop_at_points_that_are_not_before_the_camera():
  tracks = _tracks(frames=3)
  tracks[1:, :, :, 2] = np.nan
  options = panels.TrailOptions(points=20, fade=0.0)
  video = panels.trails(_grey(), tracks, _INTRINSICS, options)
  assert (video[0] < 250).any()
  assert (video[1] == 255).all()


def test_hidden_heads_are_hollow():
  tracks = _tracks(frames=1)
  options = panels.TrailOptions(points=20, fade=0.0)
  visible = np.ones(tracks.shape[:3], bool)
  shown = panels.trails(_grey(), tracks, _INTRINSICS, options, visible=visible)
  hidden = panels.trails(
    _grey(), tracks, _INTRINSICS, options, visible=~visible
  )
  assert (hidden < 250).sum() < (shown < 250).sum()


def test_motion_colours_are_grey_without_motion_and_signed_with_it():
  still = panels.motion_colours(_tracks())
  np.testing.assert_array_equal(still, 128)
  moving = panels.motion_colours(_tracks((0.1, -0.1, 0.0)))
  np.testing.assert_array_equal(moving[0], 128)
  np.testing.assert_array_equal(
    moving[-1], np.broadcast_to([255, 0, 128], (16, 24, 3))
  )


def test_predicted_and_true_share_their_scale():
  true = _tracks((0.1, 0.0, 0.0))
  options = panels.TrailOptions(factor=2)
  video = panels.predicted_and_true(
    _grey(), _tracks((0.05, 0.0, 0.0)), true, _INTRINSICS, options
  )
  left, right = video[-1, -1, 0], video[-1, -1, -1]
  np.testing.assert_array_equal(right, [255, 128, 128])
  np.testing.assert_array_equal(left, [191, 128, 128])


def test_depth_colours_order_near_and_far():
  depth = np.asarray([[[1.0, 2.0, 8.0, np.nan, 0.0, np.inf]]], np.float32)
  colours = panels.depth_colours(depth).astype(int)[0, 0]
  assert colours[0, 0] > colours[0, 2]  # Near: red over blue.
  assert colours[2, 2] > colours[2, 0]  # Far: blue over red.
  np.testing.assert_array_equal(colours[3:], 0)


def test_holes_are_painted_and_black_points_are_not():
  video = np.zeros((1, 2, 2, 3), np.uint8)
  coverage = np.asarray([[[True, False], [True, True]]])
  painted = panels.show_holes(video, coverage)
  np.testing.assert_array_equal(painted[0, 0, 1], [255, 0, 255])
  assert painted.sum() == 510
