"""TAPVid-3D's figures against its definitions, counted point by point."""

import numpy as np
import pytest

from more4d_jax.evaluation import tapvid3d


def _film(seed, frames=4, points=30):
  """True tracks, and predictions that are off by fractions of pixels to many.

  Returns: predicted, predicted_visible, true, true_visible.
  """
  rng = np.random.default_rng(seed)
  true = rng.uniform(-1, 1, (frames, points, 3)).astype(np.float32)
  true[..., 2] = rng.uniform(1, 6, (frames, points))
  spread = 10 ** rng.uniform(-3, 0, (frames, points, 1))
  wrong = true + spread * rng.standard_normal((frames, points, 3))
  shown, visible = rng.random((2, frames, points)) < 0.7
  return (0.4 * wrong).astype(np.float32), shown, true, visible


def _count(predicted, shown, true, visible, fx, fy):
  """The paper's definitions with a loop over points and frames."""
  pairs = [(t, n) for t in range(len(true)) for n in range(true.shape[1])]
  both = [pair for pair in pairs if shown[pair] and visible[pair]]
  ours, theirs = (
    sorted(sum(float(c) ** 2 for c in tracks[pair]) ** 0.5 for pair in both)
    for tracks in (predicted, true)
  )
  factor = np.median(theirs) / np.median(ours)
  jaccards, shares = [], []
  for pixels in (1, 2, 4, 8, 16):
    positives = missed = false = near_visible = 0
    for pair in pairs:
      error = np.sqrt(np.sum((predicted[pair] * factor - true[pair]) ** 2))
      near = error < pixels * true[pair][2] / (fx * fy) ** 0.5
      near_visible += near and visible[pair]
      if near and visible[pair] and shown[pair]:
        positives += 1
        continue
      # A point shown at the wrong place is missed and false at once.
      missed += visible[pair]
      false += shown[pair]
    jaccards.append(positives / (positives + missed + false))
    shares.append(near_visible / visible.sum())
  right = sum(shown[pair] == visible[pair] for pair in pairs)
  return {
    "average_jaccard": sum(jaccards) / 5,
    "points_within": sum(shares) / 5,
    "occlusion_accuracy": right / len(pairs),
  }


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_the_definitions(seed):
  film = _film(seed)
  fx, fy = 90.0, 120.0
  found = tapvid3d.figures(*film, (fx * fy) ** 0.5)
  assert found == pytest.approx(_count(*film, fx, fy), abs=1e-12)
  assert 0.1 < found["average_jaccard"] < found["points_within"] < 0.9


def test_a_perfect_prediction_of_another_scale():
  _, _, true, visible = _film(0)
  found = tapvid3d.figures(7 * true, visible, true, visible, 100.0)
  assert set(found.values()) == {1.0}
  found = tapvid3d.figures(7 * true, ~visible, true, visible, 100.0)
  assert np.isnan(found["points_within"]) or found["points_within"] == 0
  assert found["average_jaccard"] == found["occlusion_accuracy"] == 0


def test_without_a_visible_point_there_are_no_shares():
  predicted, shown, true, visible = _film(1)
  found = tapvid3d.figures(predicted, shown, true, visible & False, 100.0)
  assert np.isnan(found["points_within"])
  assert found["average_jaccard"] == 0  # What is shown is shown wrongly.


def test_focal_lengths_refer_to_a_shorter_side_of_256():
  found = tapvid3d.focal_length(np.array([300, 400, 0, 0.0]), (512, 640))
  assert found == pytest.approx(np.sqrt(150 * 200))
