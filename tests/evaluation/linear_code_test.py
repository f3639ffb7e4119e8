"""The linear motion code against a singular value decomposition."""

import numpy as np
import pytest

from more4d_jax.evaluation import linear_code


def _clips(n=12):
  rng = np.random.default_rng(0)
  return rng.standard_normal((n, 5, 16, 24, 3)).astype(np.float32)


def test_blocks_round_trip():
  clip = _clips(1)[0]
  blocks = linear_code.to_blocks(clip)
  assert blocks.shape == (6, 5 * 64 * 3)
  np.testing.assert_array_equal(
    blocks[4].reshape(5, 8, 8, 3), clip[:, 8:, 8:16]
  )
  back = linear_code.from_blocks(blocks, clip.shape[:3])
  np.testing.assert_array_equal(back, clip)


def test_basis_is_that_of_the_singular_values():
  clips = _clips()
  code = linear_code.fit(clips, coefficients=10)
  blocks = np.concatenate([linear_code.to_blocks(c) for c in clips])
  blocks = blocks.astype(np.float64)
  centred = blocks - blocks.mean(axis=0)
  _, _, rows = np.linalg.svd(centred, full_matrices=False)
  known = centred @ rows[:10].T @ rows[:10] + blocks.mean(axis=0)
  found = [
    linear_code.to_blocks(linear_code.reconstruct(code, c)) for c in clips
  ]
  np.testing.assert_allclose(np.concatenate(found), known, atol=1e-5)


def test_enough_coefficients_lose_nothing():
  clips = _clips(3)
  code = linear_code.fit(clips, coefficients=18)  # Rank of 18 blocks.
  for clip in clips:
    found = linear_code.reconstruct(code, clip)
    np.testing.assert_allclose(found, clip, atol=1e-5)


def test_clip_code_is_that_of_the_singular_values():
  clips = _clips()
  code = linear_code.ClipCode.fit(list(clips), coefficients=7)
  rows = clips.reshape(len(clips), -1).astype(np.float64)
  mean = rows.mean(axis=0)
  _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
  new = _clips(13)[12]
  centred = new.reshape(-1) - mean
  known = (mean + axes[:7].T @ (axes[:7] @ centred)).reshape(new.shape)
  np.testing.assert_allclose(code.reconstruct(new), known, atol=1e-4)


def test_clip_code_loses_nothing_of_its_own_clips():
  clips = _clips(5)
  code = linear_code.ClipCode.fit(list(clips), coefficients=100)
  assert code.weights.shape == (5, 4)  # The mean takes one away.
  for clip in clips:
    np.testing.assert_allclose(code.reconstruct(clip), clip, atol=1e-4)


def test_no_clips_is_an_error():
  with pytest.raises(ValueError, match="at least one"):
    linear_code.ClipCode.fit([], coefficients=3)
  with pytest.raises(ValueError, match="at least one"):
    linear_code.fit([], coefficients=3)


def test_error_is_relative_to_motion_over_the_mask():
  true = _clips(1)[0]
  mask = np.zeros((16, 24), bool)
  mask[3:7, 5:9] = True
  predicted = true * np.float32(0.8)
  predicted[:, ~mask] = 100
  predicted[0] = 100
  error = linear_code.MotionError()
  error.add(predicted, true, mask)
  assert error.relative == pytest.approx(0.2, rel=1e-5)
  assert error.values == 4 * 16 * 3
