"""What a user gets, with made-up networks whose figures are known."""

import types

import numpy as np
import pytest

from more4d_jax import evaluate_bundle, evaluate_chain, pipeline
from more4d_jax.sampling import sample_strag

_SIZE = (5, 16, 24)
_INTRINSICS = np.array([20, 20, 12, 8], np.float32)


def _points(depth):
  """Points of a picture, [H W 3], from its depth."""
  fx, fy, cx, cy = _INTRINSICS
  height, width = depth.shape
  x = (np.arange(width) + 0.5 - cx) / fx * depth
  y = (np.arange(height)[:, None] + 0.5 - cy) / fy * depth
  return np.stack([x, y, depth], -1).astype(np.float32)


def example(side):
  """A block in front of a wall moves along x by 0.1 a frame."""
  frames, height, width = _SIZE
  segmentation = np.zeros((height, width), np.uint8)
  segmentation[4:12, 4:20] = 1
  first = _points(np.where(segmentation, 2.0, 4.0))
  tracks = np.repeat(first[None], frames, 0)
  time = np.arange(frames, dtype=np.float32)[:, None, None]
  tracks[..., 0] += side * 0.1 * time * (segmentation > 0)
  return {
    "tracks": tracks,
    "visible": np.ones(tracks.shape[:3], bool),
    "segmentation": segmentation,
    "intrinsics": _INTRINSICS,
    "image": np.zeros((height, width, 3), np.uint8),
    "depth": first[..., 2],
    "world_from_camera": np.repeat(np.eye(4, dtype=np.float32)[None], 5, 0),
    "caption": f"a block slides to the {'right' if side > 0 else 'left'}",
  }


class Pipe(pipeline.Pipeline):
  """Depth is the truth times `scale`, motion the truth times `speed`.

  Depth and motion of a scene twice as large are twice as large.
  """

  size = _SIZE

  def __init__(self, scale, speed):
    super().__init__({})
    self._scale, self._speed = scale, speed
    self.networks = types.SimpleNamespace()
    self.generator = self

  def depth(self, images):
    depth = self._scale * example(1)["depth"]
    return np.stack([depth] * len(images))

  def tracks(self, pictures):
    for batch in pictures:
      found = []
      for depth, prompt in zip(batch.depths, batch.prompts):
        true = example(1 if "right" in prompt else -1)
        motion = true["tracks"] - true["tracks"][0]
        factor = self._speed * depth.max() / true["depth"].max()
        found.append(_points(depth) + factor * motion)
      yield sample_strag.Tracks(
        np.stack(found).astype(np.float32), np.ones(1, bool)
      )


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_scale_that_no_picture_tells_costs_nothing(scale):
  examples = [example(1), example(-1), example(1)]
  found = evaluate_chain.evaluate_chain(
    Pipe(scale, 1.0), examples, evaluate_bundle.Options(batch=2)
  ).figures
  assert found["scenes"] == 3 and found["right_sign"] == 1
  assert found["depth_error"] == pytest.approx(scale - 1, abs=1e-5)
  for name in (
    "depth_error_scaled",
    "relative",
    "motion_relative",
    "true_depth_relative",
  ):
    assert found[name] == pytest.approx(0, abs=1e-5), name
  for name in ("direction", "magnitude"):
    assert found[name] == pytest.approx(1, abs=1e-5), name
  assert found["rigidity_error"] < 1e-5
  assert found["mean_jerk"] < 1e-5 and found["true_mean_jerk"] < 1e-5
  assert found["points_within"] == 1 > found["still_points_within"]
  assert found["average_jaccard"] > found["still_average_jaccard"]


@pytest.mark.parametrize(("speed", "relative"), [(0.0, 1), (0.5, 0.5), (3, 2)])
def test_errors_are_relative_to_a_still_scene(speed, relative):
  found = evaluate_chain.evaluate_chain(
    Pipe(1.5, speed), [example(1)], evaluate_bundle.Options()
  ).figures
  for name in ("relative", "motion_relative", "true_depth_relative"):
    assert found[name] == pytest.approx(relative, rel=1e-4), name
  assert found["true_motion"] == pytest.approx(0.25, rel=1e-4)


def test_scenes_without_motion_do_not_count():
  still = example(1)
  still["tracks"] = np.repeat(still["tracks"][:1], 5, 0)
  found = evaluate_chain.evaluate_chain(
    Pipe(1.0, 0.5), [still, example(-1)], evaluate_bundle.Options()
  )
  assert found.figures["scenes"] == 1 and not found.intervals


def test_a_camera_that_moves_is_the_one_that_sees():
  """Of a wall left of which the camera goes, what leaves the picture hides."""
  scene = example(1)
  wall = _points(np.full(_SIZE[1:], 4.0))
  scene["tracks"] = np.repeat(wall[None], 5, 0)
  scene["tracks"][..., 1] += 0.11 * np.arange(5)[:, None, None]
  scene["world_from_camera"][:, 0, 3] = np.arange(5)
  column = np.arange(24)[None, :] + 0.5 - 20 / 4 * np.arange(5)[:, None]
  row = np.arange(16) + 0.5 + 20 / 4 * 0.11 * np.arange(5)[:, None]
  inside = (column >= 0)[:, None] & (row < 16)[..., None]
  scene["visible"] = inside & np.ones(_SIZE, bool)
  found = evaluate_chain._compare_tracks(scene, scene["tracks"])
  assert found == {
    "average_jaccard": 1,
    "points_within": 1,
    "occlusion_accuracy": 1,
  }
