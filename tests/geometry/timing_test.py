"""The moments of a scene that the frames of a film show."""

import numpy as np
import pytest
import scipy.interpolate

from more4d_jax import errors
from more4d_jax.geometry import timing


@pytest.mark.parametrize(
  ("course", "expected"),
  [
    ("play", [0, 2, 4, 6, 8]),
    ("frozen", [0, 0, 0, 0, 0]),
    ("slow", [0, 1, 2, 3, 4]),
    ("ping-pong", [0, 4, 8, 4, 0]),
    ("reverse", [8, 6, 4, 2, 0]),
  ],
)
def test_courses(course, expected):
  np.testing.assert_allclose(timing.moments(course, 5, 9), expected)


def test_a_film_of_the_scenes_length_shows_each_frame():
  np.testing.assert_allclose(timing.moments("play", 7, 7), np.arange(7))
  assert timing.moments("play", 1, 7) == [0]


def test_values_between_frames():
  values = (
    np.random.default_rng(0).standard_normal((7, 3, 2)).astype(np.float32)
  )
  found = timing.at_moments(values, np.array([0, 1.5, 3, 6.0]))
  np.testing.assert_array_equal(found[[0, 2, 3]], values[[0, 3, 6]])
  spline = scipy.interpolate.CubicSpline(np.arange(7), values)
  np.testing.assert_allclose(found[1], spline(1.5), atol=1e-6)
  assert found.dtype == np.float32


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 9])
def test_motion_of_low_degree_is_met(frames):
  between = np.linspace(0, frames - 1, 11)

  def curve(t):
    return 100 + sum(0.1 * t**k for k in range(min(frames, 4)))

  found = timing.at_moments(
    curve(np.arange(frames)).astype(np.float32), between
  )
  np.testing.assert_allclose(found, curve(between), rtol=2e-6)


@pytest.mark.parametrize(
  ("frames", "fps", "new", "count", "last"),
  [
    (9, 8.0, 8.0, 9, 8.0),
    (9, 8.0, 24.0, 25, 8.0),
    (49, 15.0, 24.0, 77, 47.5),
    (9, 8.0, 4.0, 5, 8.0),
    (1, 8.0, 30.0, 1, 0.0),
  ],
)
def test_other_rates(frames, fps, new, count, last):
  times = timing.at_rate(frames, fps, new)
  assert len(times) == count and times[-1] == pytest.approx(last)
  np.testing.assert_allclose(np.diff(times), fps / new)


def test_unknown_courses_and_empty_films_are_one_line():
  with pytest.raises(
    errors.UserError, match="of play, frozen, slow, ping-pong"
  ):
    timing.moments("bounce", 3, 3)
  with pytest.raises(errors.UserError, match="at least 1 frame, found 0"):
    timing.moments("play", 0, 3)
