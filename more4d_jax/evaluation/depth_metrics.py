"""Errors of depth maps and the constants they are compared with."""

import numpy as np
from jaxtyping import Bool, Float


def absolute_relative_error(
  predicted: Float[np.ndarray, "*S"],
  true: Float[np.ndarray, "*S"],
  valid: Bool[np.ndarray, "*S"],
) -> float:
  """Mean of |predicted - true| / true over valid pixels."""
  if not valid.any():
    return float("nan")
  p, t = predicted[valid].astype(np.float64), true[valid].astype(np.float64)
  return float((np.abs(p - t) / t).mean())


def valid_depth(depth: Float[np.ndarray, "*S"]) -> Bool[np.ndarray, "*S"]:
  """Pixels with a finite, positive depth."""
  return np.isfinite(depth) & (depth > 0)


def best_constant(true: Float[np.ndarray, "P"]) -> float:
  """The constant with the least absolute relative error on some depths.

  sum |c - t| / t is least at the median of t weighted by 1 / t.
  """
  ordered = np.sort(true.astype(np.float64))
  weight = np.cumsum(1.0 / ordered)
  return float(ordered[np.searchsorted(weight, weight[-1] / 2)])


def row_constants(
  true: Float[np.ndarray, "N H W"], valid: Bool[np.ndarray, "N H W"]
) -> Float[np.ndarray, "N H W"]:
  """The best constant of each image row over all N images.

  A network that ignores the picture and knows only where a pixel is can do no
  better by rows. Rows without a valid pixel get the constant 1.
  """
  constants = np.ones(true.shape[1])
  for row in range(true.shape[1]):
    values = true[:, row][valid[:, row]]
    if values.size:
      constants[row] = best_constant(values)
  return np.broadcast_to(constants[None, :, None], true.shape).copy()


def depth_figures(
  predicted: Float[np.ndarray, "N H W"], true: Float[np.ndarray, "N H W"]
) -> dict[str, float]:
  """Absolute relative error beside two constants fitted to the truth itself.

  Returns: `absolute_relative`; `row_constant` (one constant per image row,
  shared by all images); `own_row_constant` (fitted to each row of each image
  separately, which no predictor knows); `relative`, the first over the second:
  below 0.7 is 30 % better.
  """
  valid = valid_depth(true)
  shared = row_constants(true, valid)
  own = np.concatenate(
    [row_constants(true[i : i + 1], valid[i : i + 1]) for i in range(len(true))]
  )
  error = absolute_relative_error(predicted, true, valid)
  constant = absolute_relative_error(shared, true, valid)
  return {
    "images": float(len(true)),
    "absolute_relative": error,
    "row_constant": constant,
    "own_row_constant": absolute_relative_error(own, true, valid),
    "relative": error / constant,
  }
