"""The moments of a scene that the frames of a film show."""

import numpy as np
import pytest

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
  values = np.arange(10, dtype=np.float32).reshape(5, 2) ** 2
  found = timing.at_moments(values, np.asarray([0.0, 1.25, 4.0]))
  expected = [values[0], 0.75 * values[1] + 0.25 * values[2], values[4]]
  np.testing.assert_allclose(found, expected)
  assert found.dtype == np.float32


def test_unknown_courses_and_empty_films_are_one_line():
  with pytest.raises(
    errors.UserError, match="of play, frozen, slow, ping-pong"
  ):
    timing.moments("bounce", 3, 3)
  with pytest.raises(errors.UserError, match="at least 1 frame, found 0"):
    timing.moments("play", 0, 3)
