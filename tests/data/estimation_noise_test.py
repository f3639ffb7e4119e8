"""Errors of estimates: what is drawn is what a fit finds."""

import dataclasses

import numpy as np
import pytest

from more4d_jax.data import estimation_noise


def _depth(rng, size=(48, 64)):
  """A slope with boxes before it."""
  rows, columns = np.mgrid[: size[0], : size[1]]
  depth = 4.0 + 0.03 * columns + 0.02 * rows
  for _ in range(4):
    top, left = rng.integers(0, size[0] - 14), rng.integers(0, size[1] - 18)
    depth[top : top + 14, left : left + 18] = rng.uniform(1.5, 3.5)
  return depth.astype(np.float32)


_NOISE = estimation_noise.DepthNoise(
  scale=0.25, shift=0.15, bend=0.05, softness=0.02, grain=0.01
)


def _pairs(noise, count):
  rng = np.random.default_rng(0)
  true = np.stack([_depth(rng) for _ in range(count)])
  return np.stack([noise.draw(depth, rng) for depth in true]), true


def test_a_fit_finds_the_errors_that_were_drawn():
  found = estimation_noise.fit_depth(*_pairs(_NOISE, 80))
  for name, wanted in dataclasses.asdict(_NOISE).items():
    # The mean of eighty draws has an error of a tenth; scale and shift trade
    # places where a picture's depths are alike.
    assert getattr(found, name) == pytest.approx(wanted, rel=0.35), name


def test_the_defaults_err_as_much_as_the_tiny_network():
  found, true = _pairs(estimation_noise.DepthNoise(), 100)
  assert np.mean(np.abs(found / true - 1)) == pytest.approx(0.17, abs=0.02)


def test_without_errors_nothing_changes_and_none_is_found():
  none = estimation_noise.DepthNoise(0.0, 0.0, 0.0, 0.0, 0.0)
  found, true = _pairs(none, 4)
  np.testing.assert_allclose(found, true, rtol=1e-6)
  fitted = estimation_noise.fit_depth(found, true)
  assert max(dataclasses.asdict(fitted).values()) < 1e-5


def test_an_outline_flies_between_its_surfaces_and_no_farther():
  depth = np.full((20, 40), 4.0, np.float32)
  depth[:, :20] = 1.0
  soft = estimation_noise.DepthNoise(0.0, 0.0, 0.0, 0.05, 0.0)
  found = soft.draw(depth, np.random.default_rng(1))
  between = (found > 1.1) & (found < 3.9)
  assert between.any() and not between[:, [0, -1]].any()
  assert found.min() > 0.999 and found.max() < 4.001


def test_unknown_depth_stays_unknown_and_harms_nothing():
  depth = np.full((20, 30), 2.0, np.float32)
  depth[5:9, 5:9] = np.nan
  depth[0, 0] = np.inf
  found = _NOISE.draw(depth, np.random.default_rng(0))
  known = np.isfinite(depth)
  np.testing.assert_array_equal(np.isfinite(found), known)
  assert (found[known] > 0).all()
  none = np.full((4, 4), np.nan, np.float32)
  assert np.isnan(_NOISE.draw(none, np.random.default_rng(0))).all()


def test_tracks_on_another_depth_keep_their_pixels():
  rng = np.random.default_rng(0)
  tracks = rng.uniform(0.5, 1.5, (3, 4, 5, 3)).astype(np.float32)
  tracks[:, 0, 0] = np.nan
  depth = rng.uniform(2, 3, (4, 5)).astype(np.float32)
  found = estimation_noise.on_depth(tracks, depth)
  known = np.isfinite(tracks[0, ..., 2])
  np.testing.assert_allclose(found[0, ..., 2][known], depth[known], rtol=1e-6)
  np.testing.assert_allclose(
    (found[..., :2] / found[..., 2:])[:, known],
    (tracks[..., :2] / tracks[..., 2:])[:, known],
    rtol=1e-5,
  )
  assert np.isnan(found[:, 0, 0]).all()


def test_a_fit_finds_the_errors_of_motion():
  rng = np.random.default_rng(0)
  wanted = estimation_noise.MotionNoise(gain=0.3, drift=0.02)
  true = []
  for _ in range(60):
    first = np.ones((24, 32, 3), np.float32) * 2
    moved = np.zeros_like(first)
    moved[6:18, 8:24] = rng.uniform(-1, 1, 3)
    steps = np.linspace(0, 1, 5, dtype=np.float32)[:, None, None, None]
    true.append(first + steps * moved)
  sampled = [wanted.draw(tracks, rng) for tracks in true]
  for one, other in zip(sampled, true):
    np.testing.assert_array_equal(one[0], other[0])
  found = estimation_noise.fit_motion(np.stack(sampled), np.stack(true))
  assert found.gain == pytest.approx(wanted.gain, rel=0.3)
  assert found.drift == pytest.approx(wanted.drift, rel=0.2)


def test_fields_are_smooth():
  rng = np.random.default_rng(0)
  field = estimation_noise.smooth_field((48, 64), rng)
  assert field.std() == pytest.approx(1)
  assert np.abs(np.diff(field, axis=1)).max() < 0.4


def test_errors_are_in_proportion_to_their_level():
  depth = np.linspace(2, 4, 16 * 24, dtype=np.float32).reshape(16, 24)
  grain = estimation_noise.DepthNoise(0.1, 0.0, 0.0, 0.0, 0.01)
  once, twice = (
    np.log(grain.times(level).draw(depth, np.random.default_rng(0)) / depth)
    for level in (1.0, 2.0)
  )
  np.testing.assert_allclose(twice, 2 * once, atol=1e-6)
  assert np.abs(once).max() > 0.01
