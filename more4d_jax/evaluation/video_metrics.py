"""PSNR and SSIM of videos, whole or inside a mask, and a hole filler."""

import numpy as np
from jaxtyping import Bool, Float, UInt8


def psnr(
  predicted: UInt8[np.ndarray, "*S 3"],
  true: UInt8[np.ndarray, "*S 3"],
  mask: Bool[np.ndarray, "*S"] | None = None,
) -> float:
  """Peak signal-to-noise ratio in decibels, peak 255.

  Args:
    predicted: colours.
    true: colours of the same pixels.
    mask: pixels that count; all of them unless given.

  Returns: infinity where both agree exactly, NaN for an empty mask.
  """
  error = squared_error(predicted, true)
  error = error if mask is None else error[mask]
  return psnr_of(float(error.mean())) if error.size else float("nan")


def squared_error(
  predicted: UInt8[np.ndarray, "*S 3"], true: UInt8[np.ndarray, "*S 3"]
) -> Float[np.ndarray, "*S"]:
  """Squared error of each pixel, mean over channels, in grey levels^2."""
  difference = predicted.astype(np.float64) - true.astype(np.float64)
  return (difference**2).mean(axis=-1)


def psnr_of(mean_squared_error: float) -> float:
  """Decibels for a mean squared error in grey levels of 255."""
  if mean_squared_error == 0:
    return float("inf")
  return float(10 * np.log10(255.0**2 / mean_squared_error))


def ssim(
  predicted: UInt8[np.ndarray, "T H W 3"],
  true: UInt8[np.ndarray, "T H W 3"],
  window: int = 7,
  mask: Bool[np.ndarray, "T H W"] | None = None,
) -> float:
  """Mean structural similarity over frames, channels and window positions.

  Args:
    predicted: video.
    true: video of the same size.
    window: side of the uniform window; smaller frames use their own side.
    mask: pixels in whose middle a window counts; all of them unless given.

  Returns: NaN where no window counts.

  Source: Wang et al. 2004 with uniform windows, unbiased covariance, K1 0.01,
  K2 0.03, range 255, borders left out.
  """
  size = min(window, predicted.shape[1], predicted.shape[2])
  x, y = predicted.astype(np.float64), true.astype(np.float64)
  mean_x, mean_y = _box_mean(x, size), _box_mean(y, size)
  count = size**2
  unbias = count / (count - 1) if count > 1 else 1.0
  var_x = unbias * (_box_mean(x * x, size) - mean_x**2)
  var_y = unbias * (_box_mean(y * y, size) - mean_y**2)
  cov = unbias * (_box_mean(x * y, size) - mean_x * mean_y)
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  similarity = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / (
    (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
  )
  if mask is None:
    return float(similarity.mean())
  before, (_, rows, columns, _) = size // 2, similarity.shape
  chosen = similarity[
    mask[:, before : before + rows, before : before + columns]
  ]
  return float(chosen.mean()) if chosen.size else float("nan")


def _box_mean(
  video: Float[np.ndarray, "T H W C"], size: int
) -> Float[np.ndarray, "T h w C"]:
  """Means over size x size windows at all positions fully inside."""
  total = np.pad(video, ((0, 0), (1, 0), (1, 0), (0, 0)))
  total = total.cumsum(axis=1).cumsum(axis=2)
  s = size
  window = total[:, s:, s:] - total[:, :-s, s:] - total[:, s:, :-s]
  return (window + total[:, :-s, :-s]) / s**2


def fill_nearest(
  video: UInt8[np.ndarray, "T H W 3"], coverage: Bool[np.ndarray, "T H W"]
) -> UInt8[np.ndarray, "T H W 3"]:
  """Copies into each hole the colour of the nearest covered pixel.

  Distance is Euclidean within the frame, exact; a frame without any covered
  pixel stays as it is. The baseline a view-synthesis network has to beat.

  Args:
    video: a rendering.
    coverage: True where a point was drawn.
  """
  filled = video.copy()
  for frame, covered, out in zip(video, coverage, filled):
    if covered.any() and not covered.all():
      rows, cols = nearest_covered(covered)
      out[:] = frame[rows, cols]
  return filled


def nearest_covered(
  covered: Bool[np.ndarray, "H W"],
) -> tuple[np.ndarray, np.ndarray]:
  """Row and column of each pixel's nearest covered pixel.

  Two passes: the nearest covered row within each column, then per row the
  column whose candidate is closest. Takes O(H W^2) operations.

  Raises:
    ValueError: if nothing is covered.
  """
  height, width = covered.shape
  if not covered.any():
    raise ValueError("no pixel is covered: there is nothing to copy from")
  rows = np.arange(height)[:, None]
  far = 4 * (height + width)
  above = np.maximum.accumulate(np.where(covered, rows, -far), axis=0)
  below = np.where(covered, rows, far + height)[::-1]
  below = np.minimum.accumulate(below, axis=0)[::-1]
  nearest = np.where(rows - above <= below - rows, above, below)  # [H W]
  cols = np.arange(width)
  across = (cols[:, None] - cols[None, :]) ** 2  # [pixel, candidate]
  best = np.empty((height, width), np.int64)
  for row in range(height):
    best[row] = (across + (nearest[row] - row)[None, :] ** 2).argmin(axis=1)
  return np.take_along_axis(nearest, best, axis=1), best
