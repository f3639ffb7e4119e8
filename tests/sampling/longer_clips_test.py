"""Numbers of frames, and the rotary frequency that longer clips slow down."""

import math

import pytest

from more4d_jax import errors
from more4d_jax.sampling import longer_clips


@pytest.mark.parametrize("frames", [5, 9, 49, 81, 1001])
def test_frames_that_the_autoencoders_take(frames):
  assert longer_clips.check(frames) == frames


@pytest.mark.parametrize(
  ("frames", "nearest"),
  [
    (50, "49 or 53"),
    (48, "45 or 49"),
    (6, "5 or 9"),
    (1000, "997 or 1001"),
    (4, "5"),
    (1, "5"),
    (0, "5"),
    (-7, "5"),
    (1002, "1001"),
    (10**12, "1001"),
  ],
)
def test_others_are_refused_with_the_nearest(frames, nearest):
  with pytest.raises(errors.UserError) as caught:
    longer_clips.check(frames)
  line = str(caught.value)
  assert f"found {frames}" in line and "\n" not in line
  assert line.endswith(f"the nearest is {nearest}")


@pytest.mark.parametrize("trained", [17, 49, 81])
def test_the_slowed_frequency_turns_about_once_in_training(trained):
  """Of a head of 128, periods grow by 10000^(1/22) from 2 pi."""
  latent = (trained - 1) / 4 + 1
  exact = 1 + 22 * math.log(latent / (2 * math.pi)) / math.log(10000)
  assert abs(longer_clips.riflex(128, trained) - exact) < 1
