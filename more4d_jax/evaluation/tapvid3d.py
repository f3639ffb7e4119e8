"""The figures of TAPVid-3D (arXiv 2407.05921) for one film.

As its authors compute them, frame 0 included: the prediction is multiplied by
one factor, the quotient of median distances from the camera over the (point,
frame) pairs that are visible in both; a threshold of n pixels is
n z / sqrt(fx fy) metres at a point's true depth z, in pixels of pictures whose
shorter side is 256.
"""

import numpy as np
from jaxtyping import Bool, Float

THRESHOLDS = (1, 2, 4, 8, 16)
"""Pixels of a picture whose shorter side is `SIDE`."""
SIDE = 256


def figures(
  predicted: Float[np.ndarray, "T N 3"],
  predicted_visible: Bool[np.ndarray, "T N"],
  true: Float[np.ndarray, "T N 3"],
  true_visible: Bool[np.ndarray, "T N"],
  focal: float,
) -> dict[str, float]:
  """Compares the tracks of one film, positions in each frame's camera.

  Args:
    predicted: positions, of any scale.
    predicted_visible: whether the prediction shows the point.
    true: metres; NaN counts as far from every prediction.
    true_visible: whether the camera sees the point.
    focal: see `focal_length`.

  Returns: `average_jaccard` (3D-AJ): true positives (visible in both, nearer
    than the threshold) over truly visible points plus those shown wrongly or
    elsewhere, mean over thresholds; `points_within` (APD3D): share of truly
    visible points nearer than the threshold, mean over thresholds;
    `occlusion_accuracy` (OA). NaN where no point is visible.
  """
  scaled = predicted.astype(np.float64) * _median_factor(
    predicted, true, predicted_visible & true_visible
  )
  distance = np.linalg.norm(scaled - true, axis=-1)
  visible = int(true_visible.sum())
  jaccards, shares = [], []
  for pixels in THRESHOLDS:
    near = distance < pixels * true[..., 2].astype(np.float64) / focal
    hits = near & true_visible
    false = predicted_visible & ~hits
    found = int((hits & predicted_visible).sum())
    jaccards.append(_share(found, visible + int(false.sum())))
    shares.append(_share(int(hits.sum()), visible))
  return {
    "average_jaccard": float(np.mean(jaccards)),
    "points_within": float(np.mean(shares)),
    "occlusion_accuracy": float((predicted_visible == true_visible).mean()),
  }


def focal_length(
  intrinsics: Float[np.ndarray, "4"], size: tuple[int, int]
) -> float:
  """Geometric mean of both focal lengths in pixels of the thresholds.

  Args:
    intrinsics: (fx, fy, cx, cy) in pixels of the picture.
    size: (H, W) of the picture.
  """
  fx, fy = (float(value) for value in intrinsics[:2])
  return (fx * fy) ** 0.5 * SIDE / min(size)


def _median_factor(
  predicted: Float[np.ndarray, "T N 3"],
  true: Float[np.ndarray, "T N 3"],
  both: Bool[np.ndarray, "T N"],
) -> float:
  """Quotient of median distances from the camera; NaN without any pair."""
  if not both.any():
    return float("nan")
  ours, theirs = (
    np.median(np.linalg.norm(tracks[both].astype(np.float64), axis=-1))
    for tracks in (predicted, true)
  )
  return float(theirs / max(ours, 1e-6))


def _share(part: int, whole: int) -> float:
  return part / whole if whole else float("nan")
