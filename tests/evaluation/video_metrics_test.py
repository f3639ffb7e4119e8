"""Video figures against scikit-image and SciPy."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.metrics

from more4d_jax.evaluation import video_metrics


def _videos(height=24, width=32):
  rng = np.random.default_rng(0)
  one = rng.integers(0, 256, (3, height, width, 3), np.uint8)
  noise = rng.integers(-20, 21, one.shape)
  return one, np.clip(one.astype(int) + noise, 0, 255).astype(np.uint8)


def test_psnr_agrees_with_scikit_image():
  one, other = _videos()
  known = skimage.metrics.peak_signal_noise_ratio(other, one)
  assert video_metrics.psnr(one, other) == pytest.approx(known)


def test_psnr_inside_a_mask():
  one, other = _videos()
  mask = np.zeros(one.shape[:3], bool)
  mask[1, 5:9, 5:9] = True
  known = skimage.metrics.peak_signal_noise_ratio(
    other[1, 5:9, 5:9], one[1, 5:9, 5:9]
  )
  assert video_metrics.psnr(one, other, mask) == pytest.approx(known)
  assert np.isnan(video_metrics.psnr(one, other, mask & False))
  assert video_metrics.psnr(one, one) == float("inf")


def test_ssim_agrees_with_scikit_image():
  one, other = _videos()
  mask = np.random.default_rng(3).random(one.shape[:3]) < 0.2
  known, inside = [], []
  for a, b, chosen in zip(one, other, mask):
    _, full = skimage.metrics.structural_similarity(
      a, b, channel_axis=-1, full=True, data_range=255
    )
    known.append(full[3:-3, 3:-3].mean())
    inside.append(full[3:-3, 3:-3][chosen[3:-3, 3:-3]])
  assert video_metrics.ssim(one, other) == pytest.approx(np.mean(known))
  found = video_metrics.ssim(one, other, mask=mask)
  assert found == pytest.approx(np.concatenate(inside).mean())
  assert np.isnan(video_metrics.ssim(one, other, mask=mask & False))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_nearest_covered_agrees_with_scipy(share):
  covered = np.random.default_rng(1).random((21, 34)) < share
  rows, cols = video_metrics.nearest_covered(covered)
  assert covered[rows, cols].all()
  found = np.hypot(rows - np.arange(21)[:, None], cols - np.arange(34))
  known = scipy.ndimage.distance_transform_edt(~covered)
  np.testing.assert_allclose(found, known)


def test_filling_keeps_what_is_covered():
  one, _ = _videos()
  covered = np.random.default_rng(2).random(one.shape[:3]) < 0.5
  covered[2] = False
  filled = video_metrics.fill_nearest(one, covered)
  np.testing.assert_array_equal(filled[covered], one[covered])
  np.testing.assert_array_equal(filled[2], one[2])
  row, col = np.argwhere(~covered[0])[0]
  rows, cols = np.nonzero(covered[0])
  distance = (rows - row) ** 2 + (cols - col) ** 2
  near = one[0][rows, cols][distance == distance.min()]
  assert (filled[0, row, col] == near).all(-1).any()


def test_nothing_covered_is_an_error():
  with pytest.raises(ValueError, match="no pixel"):
    video_metrics.nearest_covered(np.zeros((3, 3), bool))
