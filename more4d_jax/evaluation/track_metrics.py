"""Errors and statistics of 3D trajectories."""

import dataclasses
import re

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}
_PAIRS = 500  # Of an object's points, for its shape.
_RIGID = 0.01  # Change of distances that rounding and simulation explain.


def end_point_error(
  predicted: Float[np.ndarray, "T H W 3"],
  true: Float[np.ndarray, "T H W 3"],
  mask: Bool[np.ndarray, "H W"],
) -> float:
  """Mean 3D distance of masked points over frames 1 to T-1.

  Args:
    predicted: trajectories in metres.
    true: the same points' true trajectories.
    mask: first-frame pixels that count.

  Returns: metres; NaN where the mask is empty.
  """
  if not mask.any():
    return float("nan")
  difference = predicted[1:, mask].astype(np.float64) - true[1:, mask]
  return float(np.linalg.norm(difference, axis=-1).mean())


def still_error(
  true: Float[np.ndarray, "T H W 3"], mask: Bool[np.ndarray, "H W"]
) -> float:
  """The end-point error of the prediction that nothing moves, in metres."""
  return end_point_error(np.broadcast_to(true[:1], true.shape), true, mask)


def mean_horizontal_motion(
  tracks: Float[np.ndarray, "T H W 3"], mask: Bool[np.ndarray, "H W"]
) -> float:
  """Mean displacement along x of masked points over frames 1 to T-1, metres.

  Positive is to the right in the first camera's frame.
  """
  motion = tracks[1:, mask, 0].astype(np.float64) - tracks[:1, mask, 0]
  return float(motion.mean())


def caption_sign(caption: str) -> int:
  """The horizontal direction a caption's first side word names.

  Returns: +1 for right, -1 for left, 0 when neither word occurs.
  """
  found = _SIDES.search(caption)
  if found is None:
    return 0
  return 1 if found.group(1).lower() == "right" else -1


def swap_sides(caption: str) -> str:
  """Exchanges the words "left" and "right", keeping a capital letter."""

  def other(match: re.Match[str]) -> str:
    word = match.group(1)
    swapped = _OTHER[word.lower()]
    return swapped.capitalize() if word[0].isupper() else swapped

  return _SIDES.sub(other, caption)


def moving_share(
  tracks: Float[np.ndarray, "T H W 3"], threshold: float = 0.01
) -> float:
  """Share of points that ever move by more than a share of their depth.

  Args:
    tracks: metres, first camera's frame.
    threshold: share of the first-frame depth.
  """
  return float(moving_mask(tracks, threshold).mean())


def moving_mask(
  tracks: Float[np.ndarray, "T H W 3"], threshold: float = 0.01
) -> Bool[np.ndarray, "H W"]:
  """First-frame pixels whose point ever leaves its place by `threshold` z."""
  motion = np.linalg.norm(tracks - tracks[:1], axis=-1).max(axis=0)
  return motion > threshold * tracks[0, ..., 2]


def mean_jerk(tracks: Float[np.ndarray, "T H W 3"]) -> float:
  """Mean norm of the third temporal difference relative to depth, per frame^3.

  Zero for fewer than four frames. Dividing by each point's first-frame depth
  makes scenes of different scale comparable.
  """
  if tracks.shape[0] < 4:
    return 0.0
  jerk = np.diff(tracks.astype(np.float64), n=3, axis=0)
  depth = np.maximum(tracks[0, ..., 2], 1e-6)
  return float((np.linalg.norm(jerk, axis=-1) / depth).mean())


def global_scale(
  predicted: Float[np.ndarray, "H W 3"],
  true: Float[np.ndarray, "H W 3"],
  mask: Bool[np.ndarray, "H W"],
) -> float:
  """The one factor that a single picture cannot tell: median of |true| / |p|.

  Args:
    predicted: points of the first frame, from the camera.
    true: the same pixels' true points.
    mask: pixels that count.

  Returns: 1 where the mask is empty.

  Source: TAPVid-3D (arXiv 2407.05921), global median scaling.
  """
  if not mask.any():
    return 1.0
  lengths = [
    np.linalg.norm(points[mask].astype(np.float64), axis=-1)
    for points in (true, predicted)
  ]
  return float(np.median(lengths[0] / lengths[1]))


def _displacement(
  tracks: Float[np.ndarray, "T H W 3"], mask: Bool[np.ndarray, "H W"]
) -> Float[np.ndarray, "N 3"]:
  """From the first frame to the last, of the points of a mask."""
  return (tracks[-1, mask] - tracks[0, mask]).astype(np.float64)


def direction_agreement(
  predicted: Float[np.ndarray, "T H W 3"],
  true: Float[np.ndarray, "T H W 3"],
  mask: Bool[np.ndarray, "H W"],
) -> float:
  """Mean cosine of true and predicted displacement in the last frame.

  Args:
    predicted: trajectories.
    true: the same points' true trajectories.
    mask: first-frame pixels that count.

  Returns: from -1 to 1; a point that is predicted to stay counts 0. NaN where
    no point of the mask truly moves.
  """
  ours, theirs = (_displacement(tracks, mask) for tracks in (predicted, true))
  lengths = np.linalg.norm(theirs, axis=-1)
  moves = lengths > 0
  if not moves.any():
    return float("nan")
  product = (ours * theirs).sum(axis=-1)[moves]
  size = np.linalg.norm(ours, axis=-1)[moves] * lengths[moves]
  return float((product / np.maximum(size, 1e-12)).mean())


def magnitude_agreement(
  predicted: Float[np.ndarray, "T H W 3"],
  true: Float[np.ndarray, "T H W 3"],
  mask: Bool[np.ndarray, "H W"],
) -> float:
  """Shorter over longer of true and predicted displacement in the last frame.

  Args:
    predicted: trajectories.
    true: the same points' true trajectories.
    mask: first-frame pixels that count.

  Returns: mean from 0 (one of them stays) to 1; NaN where no point of the mask
    truly moves.
  """
  ours, theirs = (
    np.linalg.norm(_displacement(tracks, mask), axis=-1)
    for tracks in (predicted, true)
  )
  ours, theirs = ours[theirs > 0], theirs[theirs > 0]
  if not theirs.size:
    return float("nan")
  return float((np.minimum(ours, theirs) / np.maximum(ours, theirs)).mean())


def rigidity_error(
  predicted: Float[np.ndarray, "T H W 3"],
  true: Float[np.ndarray, "T H W 3"],
  objects: UInt8[np.ndarray, "H W"],
) -> float:
  """How far distances inside objects change that truly keep their shape.

  An object is rigid if none of its true distances ever changes by 1 %. Up to
  500 pairs of each object's points are compared, the same every time.

  Args:
    predicted: trajectories.
    true: the same points' true trajectories.
    objects: number of each first-frame pixel's object; 0 does not count.

  Returns: mean over pairs of all rigid objects and frames 1 to T-1 of the
    change as a share of the first frame's distance; NaN without such an object.
  """
  found = []
  for number in np.unique(objects[objects > 0]):
    points = np.flatnonzero(objects == number)
    if len(points) < 2:
      continue
    pairs = np.random.default_rng(0).choice(points, (_PAIRS, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    if (np.abs(_stretch(true, pairs)) < _RIGID).all():
      found.append(np.abs(_stretch(predicted, pairs)).ravel())
  return float(np.concatenate(found).mean()) if found else float("nan")


def _stretch(
  tracks: Float[np.ndarray, "T H W 3"], pairs: Int[np.ndarray, "N 2"]
) -> Float[np.ndarray, "t N"]:
  """Change of distances after frame 0, as a share of that there."""
  points = tracks.reshape(len(tracks), -1, 3)[:, pairs].astype(np.float64)
  distance = np.linalg.norm(points[:, :, 0] - points[:, :, 1], axis=-1)
  return distance[1:] / distance[0] - 1


@dataclasses.dataclass(frozen=True)
class SceneTrackResult:
  """What one scene contributes to the figures of a split, metres and signs."""

  error: float
  still: float
  sign: int = 0
  horizontal: float = 0.0
  swapped_horizontal: float = 0.0
  oracle: float = float("nan")

  @property
  def follows(self) -> bool:
    """Whether the motion has the caption's sign, and the other one swapped."""
    return (
      self.sign * self.horizontal > 0
      and self.sign * self.swapped_horizontal < 0
    )


def summarise_tracks(results: list[SceneTrackResult]) -> dict[str, float]:
  """Figures over scenes; errors are means over scenes before dividing.

  Returns: `end_point_error` and `nothing_moves` in metres, `relative` (their
  quotient: below 0.7 is 30 % better than nothing moves), `right_sign`,
  `swapped_sign`, `follows_caption` (shares of the scenes with a side word) and
  `oracle_relative`, each only where it is defined.
  """
  kept = [r for r in results if np.isfinite(r.still) and r.still > 0]
  figures = {"scenes": float(len(kept))}
  if not kept:
    return figures
  still = float(np.mean([r.still for r in kept]))
  figures["end_point_error"] = float(np.mean([r.error for r in kept]))
  figures["nothing_moves"] = still
  figures["relative"] = figures["end_point_error"] / still
  told = [r for r in kept if r.sign]
  if told:
    right = [r.sign * r.horizontal > 0 for r in told]
    swapped = [r.sign * r.swapped_horizontal < 0 for r in told]
    figures["right_sign"] = float(np.mean(right))
    figures["swapped_sign"] = float(np.mean(swapped))
    figures["follows_caption"] = float(np.mean([r.follows for r in told]))
  oracle = [r for r in kept if np.isfinite(r.oracle)]
  if oracle:
    figures["oracle_relative"] = float(
      np.mean([r.oracle for r in oracle]) / np.mean([r.still for r in oracle])
    )
  return figures
