import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from more4d_jax.geometry import motion


def _tracks(seed, near, far, batch=2):
  """Random walks of points of an image with 4x5 pixels over 3 frames."""
  rng = np.random.default_rng(seed)
  z = np.exp(rng.uniform(np.log(near), np.log(far), (batch, 4, 5)))
  x, y = rng.uniform(-1, 1, (2, batch, 4, 5)) * z
  first = np.stack([x, y, z], axis=-1)
  moved = (
    first[:, None]
    + rng.normal(size=(batch, 2, 4, 5, 3)) * z[:, None, ..., None]
  )
  return np.concatenate([first[:, None], moved], axis=1).astype(np.float32)


def _alpha(batch=2):
  return jnp.asarray(np.linspace(0.7, 1.4, 2 * batch).reshape(batch, 2))


@pytest.mark.parametrize("mode", motion.MODES)
@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(
  seed=st.integers(0, 10**6),
  near=st.floats(0.1, 100.0),
  far=st.floats(0.1, 100.0),
)
def test_round_trip(mode, seed, near, far):
  tracks = _tracks(seed, min(near, far), max(near, far))
  alpha = _alpha()
  value, valid, scale = motion.normalise(jnp.asarray(tracks), alpha, mode)
  assert bool(valid.all())
  again = motion.denormalise(
    value, jnp.asarray(tracks[:, 0]), alpha, mode, scale
  )
  # Relative to the size of each point: its largest coordinate over time.
  size = np.abs(tracks).max(axis=(1, -1), keepdims=True)
  assert np.max(np.abs(again - tracks) / size) < 1e-5
  np.testing.assert_array_equal(again[:, 0], tracks[:, 0])


def test_depth_mode_is_the_formula():
  tracks = _tracks(0, 0.5, 20.0).astype(np.float64)
  alpha = np.asarray(_alpha(), np.float64)
  value, _, scale = motion.normalise(
    jnp.asarray(tracks, jnp.float32), _alpha(), "depth"
  )
  move = tracks - tracks[:, :1]
  z0 = tracks[:, :1, ..., 2]
  ax, ay = alpha[:, 0, None, None, None], alpha[:, 1, None, None, None]
  expected = np.stack(
    [ax * move[..., 0] / z0, ay * move[..., 1] / z0, move[..., 2] / z0], -1
  )
  np.testing.assert_allclose(value, expected, atol=2e-6)
  np.testing.assert_array_equal(scale, np.ones(2))


def test_scales_of_the_other_modes():
  tracks = _tracks(1, 0.5, 20.0)
  for mode, expected in (
    ("first_frame_range", np.ptp(tracks[:, 0], axis=(1, 2)).max(-1)),
    ("global_max", np.abs(tracks).max(axis=(1, 2, 3, 4))),
    ("displacement", np.ones(2)),
  ):
    value, _, scale = motion.normalise(jnp.asarray(tracks), _alpha(), mode)
    np.testing.assert_allclose(scale, expected, rtol=1e-6)
    known = motion.scale_of(value, jnp.asarray(tracks[:, 0]), mode)
    np.testing.assert_allclose(known, scale, rtol=1e-5)


@pytest.mark.parametrize("mode", motion.MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_invalid_points_keep_still_and_disturb_nobody(mode, bad):
  tracks = _tracks(2, 0.5, 20.0)
  clean = tracks.copy()
  clean[0, :, 1, 2] = clean[0, :, 0, 0]  # The scale sees nothing new.
  broken = clean.copy()
  broken[0, 2, 1, 2, 1] = bad  # One coordinate of a later frame.
  broken[1, 0, 3, 3] = bad  # A starting point.
  broken[1, 0, 0, 1, 2] = 0.0  # A starting depth.
  value, valid, scale = motion.normalise(jnp.asarray(broken), _alpha(), mode)
  expected = np.ones((2, 4, 5), bool)
  expected[0, 1, 2] = expected[1, 3, 3] = expected[1, 0, 1] = False
  np.testing.assert_array_equal(valid, expected)
  assert np.isfinite(value).all()
  still = np.asarray(value)[0, :, 1, 2]
  np.testing.assert_array_equal(still, np.broadcast_to(still[:1], still.shape))
  if mode != "global_max":
    np.testing.assert_array_equal(still, 0.0)
  good, _, good_scale = motion.normalise(jnp.asarray(clean), _alpha(), mode)
  if mode in ("depth", "displacement"):
    np.testing.assert_array_equal(
      np.moveaxis(value, 1, -2)[expected], np.moveaxis(good, 1, -2)[expected]
    )
  np.testing.assert_allclose(scale[0], good_scale[0], rtol=1e-6)
  first = np.where(np.isfinite(broken[:, 0]), broken[:, 0], 0.0)
  again = motion.denormalise(value, jnp.asarray(first), _alpha(), mode, scale)
  assert np.isfinite(again).all()


def test_scale_is_one_when_nothing_is_valid():
  tracks = jnp.full((1, 3, 2, 2, 3), jnp.nan)
  for mode in motion.MODES:
    value, valid, scale = motion.normalise(tracks, _alpha(1), mode)
    assert not bool(valid.any())
    np.testing.assert_array_equal(value, 0.0)
    np.testing.assert_array_equal(scale, 1.0)


def test_alpha_is_fixed_or_the_cameras():
  intrinsics = jnp.asarray([[64.0, 72.0, 32.0, 24.0]])
  own = motion.MotionNormalisation().alpha(intrinsics, 48, 64)
  np.testing.assert_allclose(own, [[1.0, 1.5]])
  fixed = motion.MotionNormalisation("depth", motion.PUBLISHED_ALPHA)
  np.testing.assert_allclose(
    fixed.alpha(intrinsics, 48, 64), [[1.0434782608695652, 1.0]], rtol=1e-6
  )


def test_an_unknown_mode_lists_the_known_ones():
  with pytest.raises(ValueError, match="first_frame_range"):
    motion.MotionNormalisation("metres")
