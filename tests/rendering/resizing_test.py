"""Renderings in other sizes, against means and repetition."""

import numpy as np

from more4d_jax.rendering import resizing


def _video(shape):
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def test_holes_do_not_darken_what_is_beside_them():
  video = np.full((1, 8, 8, 3), 200, np.uint8)
  coverage = np.ones((1, 8, 8), bool)
  coverage[0, :, :3] = False
  video[~coverage] = 0
  small, covered = resizing.shrink(video, coverage, (1, 2, 2))
  assert not covered[0, :, 0].any() and covered[0, :, 1].all()
  np.testing.assert_array_equal(small[covered], 200)


def test_the_same_size_is_the_same_video():
  video, coverage = _video((3, 4, 6)), np.ones((3, 4, 6), bool)
  small, covered = resizing.shrink(video, coverage, (3, 4, 6))
  np.testing.assert_array_equal(small, video)
  assert covered is coverage
  np.testing.assert_array_equal(resizing.enlarge(video, (3, 4, 6)), video)


def test_frames_are_the_nearest_and_blended():
  video = np.repeat(_video((5, 1, 1)), 4, 1).repeat(4, 2)
  coverage = np.ones(video.shape[:3], bool)
  small, _ = resizing.shrink(video, coverage, (3, 2, 2))
  np.testing.assert_array_equal(small, video[::2, ::2, ::2])
  large = resizing.enlarge(video[::2], (5, 4, 4)).astype(int)
  np.testing.assert_array_equal(large[::2], video[::2])
  mean = (video[0].astype(float) + video[2]) / 2
  assert np.abs(large[1] - mean).max() <= 0.5
