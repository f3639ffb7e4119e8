"""What a user gets: a picture and a caption alone, against the true scene.

Depth is estimated, trajectories are drawn on it, and both are compared with
the truth; the same networks with true depth stand beside it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from more4d_jax import evaluate_bundle, pipeline
from more4d_jax.evaluation import (
  depth_metrics,
  intervals,
  seen_points,
  tapvid3d,
  track_metrics,
)


def evaluate_chain(
  pipe: pipeline.Pipeline,
  examples: Sequence[evaluate_bundle.Example],
  options: evaluate_bundle.Options,
) -> intervals.Measured:
  """Figures of scenes made of picture and caption, one sample per scene.

  Errors count the points of objects that truly move, see `moving_points`.
  Tracks on estimated depth, and the points that stay where that depth puts
  them, are multiplied by one factor for each scene, which a single picture
  cannot tell: see `track_metrics.global_scale`.

  Args:
    pipe: the networks, depth included.
    examples: of `transforms.scene_example`, and `world_from_camera` [T 4 4]
      of the film.
    options: how samples are drawn.

  Returns: means over the scenes in which something moves, of
    `depth_error` and `depth_error_scaled`: absolute relative error of depth.
    `end_point_error`, `nothing_moves` in metres and their quotient `relative`:
    of the scaled tracks, and of points that stay on the estimated depth.
    `motion_error`, `true_motion` and `motion_relative`: of displacements from
    the first frame, so that the error of depth itself does not count; a scene
    in which nothing moves has 1.
    `true_depth_relative`: the same where the networks are given true depth.
    `direction`, `true_depth_direction`: mean cosine of displacements;
    `magnitude`: shorter over longer of true and predicted displacement.
    `rigidity_error`: change of distances inside objects that are truly rigid,
      see `track_metrics.rigidity_error`; of the scenes that have one.
    `mean_jerk`, `true_mean_jerk`: of the moving points, see
      `track_metrics.mean_jerk`.
    `average_jaccard`, `points_within`, `occlusion_accuracy`: of all points
      whose path is known, in the camera of each frame; see
      `evaluation.tapvid3d`. `still_...`: the same of points that stay on the
      estimated depth.
    `right_sign`: share of the scenes whose caption names a side in which the
    object moves to it.
  """
  captions = [e["caption"] for e in examples]
  images = np.stack([e["image"] for e in examples])
  depths = evaluate_bundle.estimated_depth(pipe, images, options.batch)
  made = evaluate_bundle.sample(pipe, examples, captions, options, list(depths))
  told = evaluate_bundle.sample(pipe, examples, captions, options)
  rows = [
    track_figures(example, estimated) | _told_figures(example, given)
    for example, estimated, given in zip(examples, made, told)
    if moving_points(example).any()
  ]
  true_depth = ("true_depth_relative", "true_depth_error", "true_motion")
  return intervals.measured(rows, (*QUOTIENTS, true_depth))


# Quotients of means, so that scenes that hardly move do not rule.
QUOTIENTS = (
  ("relative", "end_point_error", "nothing_moves"),
  ("motion_relative", "motion_error", "true_motion"),
)


def moving_points(
  example: evaluate_bundle.Example,
) -> Bool[np.ndarray, "H W"]:
  """First-frame pixels of objects that ever move by 1 % of their depth."""
  objects = evaluate_bundle.object_mask(example)
  return objects & track_metrics.moving_mask(example["tracks"])


def scale_of(
  example: evaluate_bundle.Example, made: Float[np.ndarray, "T H W 3"]
) -> np.float32:
  """The factor that a picture cannot tell: `track_metrics.global_scale`."""
  true = example["tracks"][0]
  known = depth_metrics.valid_depth(true[..., 2])
  return np.float32(track_metrics.global_scale(made[0], true, known))


def track_figures(
  example: evaluate_bundle.Example, made: Float[np.ndarray, "T H W 3"]
) -> dict[str, float]:
  """What the tracks of one scene contribute; see `evaluate_chain`."""
  true, moving = example["tracks"], moving_points(example)
  known = depth_metrics.valid_depth(true[0, ..., 2])
  scaled = made * scale_of(example, made)
  still = np.broadcast_to(scaled[:1], scaled.shape)
  origin = true[0]
  found = {
    "depth_error": depth_metrics.absolute_relative_error(
      made[0, ..., 2], origin[..., 2], known
    ),
    "depth_error_scaled": depth_metrics.absolute_relative_error(
      scaled[0, ..., 2], origin[..., 2], known
    ),
    "end_point_error": track_metrics.end_point_error(scaled, true, moving),
    "nothing_moves": track_metrics.end_point_error(still, true, moving),
    "motion_error": track_metrics.end_point_error(
      scaled - scaled[0] + origin, true, moving
    ),
    "true_motion": track_metrics.still_error(true, moving),
    "direction": track_metrics.direction_agreement(scaled, true, moving),
    "magnitude": track_metrics.magnitude_agreement(scaled, true, moving),
    "mean_jerk": track_metrics.mean_jerk(made[:, None, moving]),
    "true_mean_jerk": track_metrics.mean_jerk(true[:, None, moving]),
  }
  objects = example["segmentation"] * evaluate_bundle.object_mask(example)
  rigidity = track_metrics.rigidity_error(made, true, objects)
  if not np.isnan(rigidity):
    found["rigidity_error"] = rigidity
  for prefix, tracks in (("", scaled), ("still_", still)):
    compared = _compare_tracks(example, tracks)
    found |= {prefix + name: value for name, value in compared.items()}
  sign = track_metrics.caption_sign(example["caption"])
  if sign:
    moved = track_metrics.mean_horizontal_motion(made, moving)
    found["right_sign"] = float(sign * moved > 0)
  return found


def _told_figures(
  example: evaluate_bundle.Example, told: Float[np.ndarray, "T H W 3"]
) -> dict[str, float]:
  """What the tracks on true depth contribute."""
  true, moving = example["tracks"], moving_points(example)
  return {
    "true_depth_error": track_metrics.end_point_error(told, true, moving),
    "true_depth_direction": track_metrics.direction_agreement(
      told, true, moving
    ),
  }


def _compare_tracks(
  example: evaluate_bundle.Example, tracks: Float[np.ndarray, "T H W 3"]
) -> dict[str, float]:
  """TAPVid-3D's figures: in each frame's camera, which shows what it sees."""
  poses, intrinsics = example["world_from_camera"], example["intrinsics"]
  true = seen_points.in_each_camera(example["tracks"], poses)
  ours = seen_points.in_each_camera(tracks, poses)
  seen = seen_points.seen(ours, intrinsics)
  known = np.isfinite(true).all(axis=(0, -1))
  return tapvid3d.figures(
    ours[:, known],
    seen[:, known],
    true[:, known],
    example["visible"][:, known],
    tapvid3d.focal_length(intrinsics, known.shape),
  )
