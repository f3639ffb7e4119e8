"""How far a user's scene depends on chance: on noise, and on errors of depth.

Both are measured on scenes made of picture and caption, see `evaluate_chain`.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from more4d_jax import evaluate_bundle, evaluate_chain, pipeline
from more4d_jax.data import estimation_noise
from more4d_jax.evaluation import intervals, track_metrics

_SHOWN = (
  "depth_error",
  "depth_error_scaled",
  "end_point_error",
  "nothing_moves",
  "motion_error",
  "true_motion",
  "direction",
  "average_jaccard",
  "points_within",
  "occlusion_accuracy",
)


def evaluate_samples(
  pipe: pipeline.Pipeline,
  examples: Sequence[evaluate_bundle.Example],
  options: evaluate_bundle.Options,
  count: int,
) -> intervals.Measured:
  """Several samples of each scene, from seeds that follow each other.

  Args:
    pipe: the networks, depth included.
    examples: as `evaluate_chain` takes them.
    options: with the first seed.
    count: samples of each scene, at least two.

  Returns: means over the scenes in which something moves, of
    `motion_relative`, error of displacements over true displacements, mean over
    samples; `best_motion_relative`, of each scene's best sample, which only
    truth can tell; `diversity`, distance between two samples' displacements
    over the length of true ones, mean over pairs; `seed_spread`, the standard
    deviation over seeds of the figure `motion_relative` of all scenes.
  """
  kept = [e for e in examples if evaluate_chain.moving_points(e).any()]
  if not kept:
    return intervals.measured([])
  captions = [e["caption"] for e in kept]
  images = np.stack([e["image"] for e in kept])
  depths = list(evaluate_bundle.estimated_depth(pipe, images, options.batch))
  motions: list[list[Float[np.ndarray, "T P 3"]]] = [[] for _ in kept]
  for seed in range(options.seed, options.seed + count):
    seeded = dataclasses.replace(options, seed=seed)
    drawn = evaluate_bundle.sample(pipe, kept, captions, seeded, depths)
    for example, tracks, known in zip(kept, drawn, motions):
      known.append(_scaled_motion(example, tracks))
  compared = [_compare(e, known) for e, known in zip(kept, motions)]
  rows = [
    {
      "error": float(np.mean(errors)),
      "best_error": float(np.min(errors)),
      "pair_distance": apart,
      "true_motion": true,
    }
    for errors, apart, true in compared
  ]
  found = intervals.measured(
    rows,
    (
      ("motion_relative", "error", "true_motion"),
      ("best_motion_relative", "best_error", "true_motion"),
      ("diversity", "pair_distance", "true_motion"),
    ),
  )
  of_seeds = np.mean([errors for errors, _, _ in compared], axis=0)
  spread = float(of_seeds.std(ddof=1) / found.figures["true_motion"])
  figures = {**found.figures, "samples": float(count), "seed_spread": spread}
  return intervals.Measured(figures, found.intervals)


def _scaled_motion(
  example: evaluate_bundle.Example, made: Float[np.ndarray, "T H W 3"]
) -> Float[np.ndarray, "T P 3"]:
  """Displacements of the moving points from the first frame, in metres."""
  moving = evaluate_chain.moving_points(example)
  motion = made[:, moving] - made[0, moving]
  return motion * evaluate_chain.scale_of(example, made)


def _compare(
  example: evaluate_bundle.Example,
  motions: Sequence[Float[np.ndarray, "T P 3"]],
) -> tuple[list[float], float, float]:
  """(error of each sample, mean distance of pairs, true motion), metres."""
  moving = evaluate_chain.moving_points(example)
  tracks = example["tracks"]
  true = tracks[:, moving] - tracks[0, moving]
  apart = [_apart(*pair) for pair in itertools.combinations(motions, 2)]
  return (
    [_apart(motion, true) for motion in motions],
    float(np.mean(apart)),
    track_metrics.still_error(tracks, moving),
  )


def _apart(
  one: Float[np.ndarray, "T P 3"], other: Float[np.ndarray, "T P 3"]
) -> float:
  """Mean distance of points over frames 1 to T-1."""
  difference = one[1:].astype(np.float64) - other[1:]
  return float(np.linalg.norm(difference, axis=-1).mean())


def evaluate_depth_noise(
  pipe: pipeline.Pipeline,
  examples: Sequence[evaluate_bundle.Example],
  options: evaluate_bundle.Options,
  level: float,
) -> intervals.Measured:
  """Tracks drawn on true depth with the errors of an estimate.

  A scene's errors are the same at all levels but for their size, and follow
  from its number and the seed alone.

  Args:
    pipe: the networks.
    examples: as `evaluate_chain` takes them.
    options: how samples are drawn.
    level: size of the errors in that of `estimation_noise.DepthNoise()`.

  Returns: of those of `evaluate_chain`, what tells of depth and tracks.
  """
  kept = [e for e in examples if evaluate_chain.moving_points(e).any()]
  noise = estimation_noise.DepthNoise().times(level)
  depths = [
    noise.draw(
      evaluate_bundle.first_depth(example),
      np.random.default_rng((options.seed, number)),
    )
    for number, example in enumerate(kept)
  ]
  if not kept:
    return intervals.measured([])
  captions = [e["caption"] for e in kept]
  drawn = evaluate_bundle.sample(pipe, kept, captions, options, depths)
  rows = []
  for example, tracks in zip(kept, drawn):
    found = evaluate_chain.track_figures(example, tracks)
    rows.append({name: found[name] for name in _SHOWN})
  return intervals.measured(rows, evaluate_chain.QUOTIENTS)
