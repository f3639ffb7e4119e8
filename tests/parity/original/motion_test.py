import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import motion
from tests.parity.original import motion as original


def _tracks(batch=1):
  rng = np.random.default_rng(0)
  tracks = rng.normal(size=(batch, 3, 4, 5, 3))
  tracks[..., 2] += 6.0
  return tracks.astype(np.float32)


@pytest.mark.parametrize("mode", motion.MODES)
def test_equals_ours_where_all_points_are_valid(mode):
  tracks, alpha = jnp.asarray(_tracks()), jnp.asarray([[1.2, 0.9]])
  ours, valid, _ = motion.normalise(tracks, alpha, mode)
  assert valid.all()
  theirs = original.normalise(tracks, alpha, mode)
  np.testing.assert_allclose(theirs, ours, atol=1e-6)


def test_depth_that_is_zero_or_missing_counts_as_one():
  tracks = _tracks()
  tracks[0, 0, 0, :3, 2] = [0.0, np.nan, np.inf]
  alpha = jnp.asarray([[2.0, 3.0]])
  theirs = original.normalise(jnp.asarray(tracks), alpha, "depth")
  moved = tracks[0, 2, 0, :3] - tracks[0, 0, 0, :3]
  np.testing.assert_allclose(theirs[0, 2, 0, :3, 0], 2 * moved[:, 0], rtol=1e-5)
  assert np.isnan(theirs[0, 2, 0, 1, 2])


def test_one_maximum_for_the_batch():
  tracks = jnp.asarray(_tracks(batch=2)).at[1].multiply(3.0)
  alpha = jnp.ones((2, 2))
  theirs = original.normalise(tracks, alpha, "global_max")
  np.testing.assert_allclose(np.abs(theirs[1]).max(), 1.0, rtol=1e-6)
  assert np.abs(theirs[0]).max() < 0.5


def test_unknown_mode():
  with pytest.raises(ValueError, match="choose one of"):
    original.normalise(jnp.asarray(_tracks()), jnp.ones((1, 2)), "median")


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_clips_are_cut_or_end_with_a_still(frames):
  tracks = _tracks()
  found = original.fit_length(jnp.asarray(tracks), frames)
  order = np.minimum(np.arange(frames), 2)
  np.testing.assert_array_equal(found, tracks[:, order])
