"""Track figures against hand-made trajectories."""

import numpy as np
import pytest

from more4d_jax.evaluation import track_metrics


def _tracks(velocity, frames=5, height=4, width=6):
  start = np.ones((height, width, 3), np.float32) * [0, 0, 2]
  time = np.arange(frames)[:, None, None, None]
  return (start + time * np.asarray(velocity)).astype(np.float32)


def _half():
  mask = np.zeros((4, 6), bool)
  mask[:, 3:] = True
  return mask


def test_end_point_error_and_nothing_moves():
  true = _tracks([0.3, 0, 0.4])
  # Frames 1 to 4 are 0.5, 1, 1.5 and 2 metres away.
  assert track_metrics.still_error(true, _half()) == pytest.approx(1.25)
  other = true.copy()
  other[:, :, :3] += 100  # Outside the mask.
  other[1:, :, 3:, 1] += 0.2
  error = track_metrics.end_point_error(other, true, _half())
  assert error == pytest.approx(0.2, rel=1e-5)


def test_an_empty_mask_has_no_error():
  true = _tracks([1, 0, 0])
  assert np.isnan(track_metrics.still_error(true, np.zeros((4, 6), bool)))


def test_horizontal_motion_is_signed():
  tracks = _tracks([-0.1, 5, 0])
  found = track_metrics.mean_horizontal_motion(tracks, _half())
  assert found == pytest.approx(-0.25)


@pytest.mark.parametrize(
  ("caption", "sign"),
  [
    ("a ball rolls slowly to the left", -1),
    ("Right in front, a box slides to the left", 1),
    ("a bright ball leftover", 0),
  ],
)
def test_caption_sign_and_its_swap(caption, sign):
  swapped = track_metrics.swap_sides(caption)
  assert track_metrics.caption_sign(caption) == sign
  assert track_metrics.caption_sign(swapped) == -sign
  assert track_metrics.swap_sides(swapped) == caption


def test_moving_share_is_relative_to_depth():
  tracks = _tracks([0, 0, 0])
  tracks[3, 0, 0, 0] += 0.021  # 1.05 % of 2 metres.
  tracks[3, 0, 1, 0] += 0.019
  assert track_metrics.moving_share(tracks) == pytest.approx(1 / 24)


def test_jerk_of_polynomials():
  time = np.arange(7, dtype=np.float64)[:, None, None]
  tracks = np.zeros((7, 2, 2, 3))
  tracks[..., 2] = 2
  tracks[..., 0] = 3 * time**2
  assert track_metrics.mean_jerk(tracks) == pytest.approx(0, abs=1e-9)
  tracks[..., 0] = time**3  # Third difference 6, over a depth of 2.
  assert track_metrics.mean_jerk(tracks) == pytest.approx(3)
  assert track_metrics.mean_jerk(tracks[:3]) == 0


def test_summary_of_two_scenes():
  make = track_metrics.SceneTrackResult
  results = [
    make(1.0, 2.0, sign=1, horizontal=0.5, swapped_horizontal=-0.5, oracle=0.5),
    make(
      2.0, 4.0, sign=-1, horizontal=-0.1, swapped_horizontal=-0.2, oracle=1.0
    ),
    make(float("nan"), float("nan")),
  ]
  found = track_metrics.summarise_tracks(results)
  assert found["scenes"] == 2
  assert found["relative"] == pytest.approx(0.5)
  assert found["right_sign"] == 1
  assert found["swapped_sign"] == found["follows_caption"] == 0.5
  assert found["oracle_relative"] == pytest.approx(0.25)


def test_the_global_scale_is_the_median_ratio():
  rng = np.random.default_rng(0)
  points = rng.random((4, 6, 3)).astype(np.float32) + 1
  scaled = 1.7 * points
  scaled[0, :5] *= 50  # Fewer than half may be anything.
  mask = np.ones((4, 6), bool)
  found = track_metrics.global_scale(points, scaled, mask)
  assert found == pytest.approx(1.7, rel=1e-5)
  assert track_metrics.global_scale(points, scaled, ~mask) == 1


def test_directions_agree_by_their_cosine():
  mask, true = _half(), _tracks([0.3, 0, 0])
  for velocity, cosine in (
    ([2, 0, 0], 1),
    ([-1, 0, 0], -1),
    ([0, 1, 0], 0),
    ([1, 0, 1], 0.5**0.5),
    ([0, 0, 0], 0),
  ):
    found = track_metrics.direction_agreement(_tracks(velocity), true, mask)
    assert found == pytest.approx(cosine, abs=1e-5)
  still = _tracks([0, 0, 0])
  assert np.isnan(track_metrics.direction_agreement(true, still, mask))


def test_magnitudes_agree_by_the_shorter_over_the_longer():
  true = _tracks([0.2, 0, 0])
  mixed = _tracks([0.1, 0, 0])
  mixed[:, :, 4:] = _tracks([0, 0, 0.8])[:, :, 4:]
  found = track_metrics.magnitude_agreement(mixed, true, _half())
  # Half as far in one column of three, four times as far in two.
  assert found == pytest.approx((0.5 + 2 * 0.25) / 3, rel=1e-5)
  still = _tracks([0, 0, 0])
  assert np.isnan(track_metrics.magnitude_agreement(mixed, still, _half()))


def test_rigid_objects_keep_their_distances():
  rng = np.random.default_rng(0)
  turns = np.linalg.qr(rng.normal(size=(5, 3, 3)))[0]
  start = rng.normal(size=(4, 6, 3))
  true = np.einsum("tij,hwj->thwi", turns, start).astype(np.float32)
  objects = np.zeros((4, 6), np.uint8)
  objects[:2, :3], objects[:2, 3:] = 1, 2
  assert track_metrics.rigidity_error(true, true, objects) < 1e-5
  # A scene that grows by a fifth, but object 2 truly does so and is no judge.
  growing = true * np.linspace(1, 1.2, 5, dtype=np.float32)[:, None, None, None]
  soft = true.copy()
  soft[:, :2, 3:] = growing[:, :2, 3:]
  found = track_metrics.rigidity_error(growing, soft, objects)
  assert found == pytest.approx(0.125, rel=1e-4)  # Mean of 5, 10, 15, 20 %.
  assert np.isnan(track_metrics.rigidity_error(true, growing, objects))
