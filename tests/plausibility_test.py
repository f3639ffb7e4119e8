"""What numbers can be, and what they cannot."""

import logging

import numpy as np
import pytest

from more4d_jax import errors, plausibility, rng

_WHERE = "cameras"


def _intrinsics(values, size=(48, 64), stated=None):
  values = np.atleast_2d(np.asarray(values, np.float64))
  return plausibility.intrinsics(values, size, _WHERE, stated)[0]


@pytest.mark.parametrize(
  ("values", "stated", "found", "line"),
  [
    ((50, 51, 32, 24), None, (50, 51, 32, 24), None),
    ((50, 51, 20, 30), None, (50, 51, 20, 30), None),  # Of a crop.
    # Shares of the width and height, of pixels that are square here.
    ((0.75, 1.0, 0.5, 0.5), None, (48, 48, 32, 24), "shares"),
    ((0.75, 1.01, 0.4, 0.5), None, (48, 48.48, 25.6, 24), "shares"),
    # Of another aspect: a square picture, cut above and below.
    ((0.9, 0.9, 0.5, 0.5), None, (57.6, 57.6, 32, 24), "shares"),
    # Of 16 : 9, cut left and right: 48 rows are the height.
    ((0.5, 0.5 * 16 / 9, 0.5, 0.5), None, (128 / 3, 128 / 3, 32, 24), "shares"),
    # Of a picture that was said, or whose centre says it.
    ((1000, 1000, 640, 360), (720, 1280), (200 / 3, 200 / 3, 32, 24), None),
    ((1000, 1000, 640, 360), None, (200 / 3, 200 / 3, 32, 24), "1280 x 720"),
    ((500, 500, 320, 240), None, (50, 50, 32, 24), "640 x 480"),
    ((25, 25, 16, 12), None, (50, 50, 32, 24), "32 x 24"),
    # Twenty pixels right of the centre of the picture that was said.
    ((500, 500, 340, 240), (480, 640), (50, 50, 34, 24), None),
  ],
)
def test_intrinsics_of_some_picture(caplog, values, stated, found, line):
  with caplog.at_level(logging.WARNING):
    result = _intrinsics(values, stated=stated)
  np.testing.assert_allclose(result, found, rtol=1e-6)
  assert [line in r.getMessage() for r in caplog.records] == [True] * bool(line)


@pytest.mark.parametrize(
  ("values", "stated"),
  [
    ((1, 1, 32, 24), None),  # Wider than any lens.
    ((5000, 5000, 32, 24), None),
    ((50, 50, -5, 24), None),
    ((50, 50, 640, 24), None),
    ((50, 50, 32, 24), (480, 640)),
    ((50, 50, 32, 24), (0, 0)),
  ],
)
def test_intrinsics_of_no_picture(values, stated):
  with pytest.raises(errors.UserError, match="principal point") as caught:
    _intrinsics(values, stated=stated)
  assert "\n" not in str(caught.value)


def _turn(angle=0.3):
  c, s = np.cos(angle), np.sin(angle)
  pose = np.eye(4)
  pose[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
  pose[:3, 3] = [0.1, 0.2, 0.3]
  return pose


@pytest.mark.parametrize(
  "form",
  [
    lambda p: p,
    lambda p: p[:, :3],
    lambda p: p.tolist(),
    lambda p: p.reshape(-1, 16),
    lambda p: p[:, :3].reshape(-1, 12).tolist(),
    lambda p: list(p.astype(np.float32)),
  ],
)
def test_poses_in_every_form(form):
  poses = np.stack([_turn(angle) for angle in (0.0, 0.3, 0.6)])
  found = plausibility.rigid_poses(form(poses), _WHERE)
  np.testing.assert_allclose(found, poses, atol=1e-6)
  one = plausibility.rigid_poses(np.asarray(form(poses))[1], _WHERE)
  np.testing.assert_allclose(one, poses[1:2], atol=1e-6)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda p: p @ np.diag([-1.0, 1, 1, 1]), "mirrored"),
    (lambda p: p @ np.diag([2.0, 2, 2, 1]), "scaled by 2"),
    (lambda p: p @ np.diag([2.0, 1, 1, 1]), "not orthonormal"),
    (lambda p: p.T, "transpose"),
    (lambda p: p * [[1], [1], [1], [0]], "last row is 0 0 0 0"),
    (lambda p: p * np.nan, "NaN"),
    (lambda p: p[:3, :3], "T x 4 x 4"),
    (lambda p: [["a"]], "numbers"),
    (lambda p: [[1, 2], [3]], "regular shape"),
    (lambda p: np.zeros((0, 4, 4)), "T x 4 x 4"),
    (lambda p: None, "numbers"),
    (lambda p: {"a": 1}, "numbers"),
    (lambda p: 10**400, "numbers"),
  ],
)
def test_what_is_no_pose(change, words):
  with pytest.raises(errors.UserError, match=words) as caught:
    plausibility.rigid_poses(change(_turn()), _WHERE)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e6])
def test_frame_rates(fps):
  assert plausibility.frame_rate(23.976, "a film") == 23.976
  with pytest.raises(errors.UserError, match="fps must be positive"):
    plausibility.frame_rate(fps, "a film")


def test_seeds_have_63_bits():
  keys = [rng.key(seed, "noise") for seed in (0, 1, 2**31, 2**32, 2**63 - 1)]
  assert len({key.__str__() for key in keys}) == len(keys)
  for seed in (-1, 2**63):
    with pytest.raises(errors.UserError, match="expected a seed of 0 to 9223"):
      rng.key(seed, "noise")
