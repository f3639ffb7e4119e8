"""Trajectories to normalised motion, and back.

Source: docs/method/trajectories.md#normalisation and #inverse.
With P_t the position of a point at frame t in the first camera's frame,
d_t = P_t - P_0 and z0 the depth of P_0:

  displacement       X = d_t
  depth              X = (ax dx / z0, ay dy / z0, dz / z0)
  first_frame_range  X = d_t / R, R the widest axis extent of the valid P_0,
                     maximum less minimum: the min-max of the paper's ablation
  global_max         X = P_t / max |P|, the maximum over all valid points
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# The constants of the original's training scripts
# (docs/method/trajectories.md#camera-factors).
PUBLISHED_ALPHA = (1.0434782608695652, 1.0)

_NEAREST = 1e-6  # Metres; a first-frame depth at or below this is invalid.


@dataclasses.dataclass(frozen=True)
class MotionNormalisation:
  """How a checkpoint turns trajectories into motion; part of its metadata.

  Attributes:
    mode: one of `MODES`.
    fixed_alpha: (ax, ay) of every scene, or None for each scene's own
      (fx / W, fy / H).
  """

  mode: str = "depth"
  fixed_alpha: tuple[float, float] | None = None

  def __post_init__(self):
    _rule(self.mode)

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> "MotionNormalisation":
    """Reads what `dataclasses.asdict` wrote into a checkpoint's metadata."""
    alpha = values.get("fixed_alpha")
    return cls(values["mode"], None if alpha is None else tuple(alpha))

  def alpha(
    self, intrinsics: Float[Array, "B 4"], height: int, width: int
  ) -> Float[Array, "B 2"]:
    """Camera factors of scenes of size (height, width)."""
    if self.fixed_alpha is None:
      return alpha_from_intrinsics(intrinsics, height, width)
    fixed = jnp.asarray(self.fixed_alpha, jnp.float32)
    return jnp.broadcast_to(fixed, (intrinsics.shape[0], 2))


def alpha_from_intrinsics(
  intrinsics: Float[Array, "B 4"], height: int, width: int
) -> Float[Array, "B 2"]:
  """Focal lengths in units of the image size, (fx / W, fy / H)."""
  return intrinsics[:, :2] / jnp.asarray([width, height], intrinsics.dtype)


def valid_points(tracks: Float[Array, "B T H W 3"]) -> Bool[Array, "B H W"]:
  """True where a point is finite in every frame and starts before the camera.

  Args:
    tracks: metres, in the first camera's frame.
  """
  finite = jnp.all(jnp.isfinite(tracks), axis=(1, -1))
  return finite & (tracks[:, 0, ..., 2] > _NEAREST)


def normalise(
  tracks: Float[Array, "B T H W 3"], alpha: Float[Array, "B 2"], mode: str
) -> tuple[Float[Array, "B T H W 3"], Bool[Array, "B H W"], Float[Array, "B"]]:
  """Motion of every point, free of the scene's scale.

  Args:
    tracks: metres, in the first camera's frame; may hold non-finite values.
    alpha: camera factors, used by the mode `depth` only.
    mode: one of `MODES`; ValueError otherwise.

  Returns:
    The motion, finite everywhere, with no displacement at invalid points; the
    validity mask, to leave invalid points out of losses; and the scale that
    `denormalise` needs (1 where the mode has none).

  Source: docs/method/trajectories.md#normalisation. Differs from the original,
  which keeps NaN.
  """
  rule = _rule(mode)
  valid = valid_points(tracks)
  still = jnp.broadcast_to(tracks[:, :1], tracks.shape)
  tracks = jnp.where(valid[:, None, ..., None], tracks, still)
  tracks = jnp.where(jnp.isfinite(tracks), tracks, 0.0)
  first = tracks[:, :1]
  scale = rule.scale(tracks, valid)
  unit = rule.unit(jnp.where(valid, first[:, 0, ..., 2], 1.0), alpha, scale)
  return (tracks - rule.origin(first)) / unit, valid, scale


def denormalise(
  motion: Float[Array, "B T H W 3"],
  first_points: Float[Array, "B H W 3"],
  alpha: Float[Array, "B 2"],
  mode: str,
  scale: Float[Array, "B"],
) -> Float[Array, "B T H W 3"]:
  """Exact inverse of `normalise`; frame 0 is replaced by `first_points`.

  Args:
    motion: normalised motion.
    first_points: metres, where each point starts. A point that is not finite
      or not in front of the camera stays where it is.
    alpha: the factors that `normalise` used.
    mode: the mode that `normalise` used.
    scale: what `normalise` returned, or `scale_of`.

  Returns:
    Trajectories in metres, in the first camera's frame.
  """
  rule, first = _rule(mode), first_points[:, None]
  unit = rule.unit(first_points[..., 2], alpha, scale)
  tracks = rule.origin(first) + motion * unit
  usable = jnp.all(jnp.isfinite(first), axis=-1) & (first[..., 2] > _NEAREST)
  tracks = jnp.where(usable[..., None], tracks, first)
  return jnp.concatenate([first, tracks[:, 1:]], axis=1)


def scale_of(
  motion: Float[Array, "B T H W 3"],
  first_points: Float[Array, "B H W 3"],
  mode: str,
) -> Float[Array, "B"]:
  """The scale of generated motion, whose true trajectories are unknown.

  Where motion is displacement, the first points give it. `global_max` predicts
  positions in unknown units; a least-squares fit of its frame 0 to the first
  points gives the unit.
  """
  rule = _rule(mode)
  usable = valid_points(first_points[:, None])
  first = jnp.where(usable[..., None], first_points, 0.0)
  if rule.origin is _first:
    return rule.scale(first[:, None], usable)
  start = motion[:, 0] * usable[..., None]
  norm = jnp.sum(start * start, axis=(1, 2, 3))
  fitted = jnp.sum(start * first, axis=(1, 2, 3)) / jnp.where(
    norm > 0, norm, 1.0
  )
  return jnp.where(fitted > 0, fitted, 1.0)


def _no_scale(
  tracks: Float[Array, "B T H W 3"], valid: Bool[Array, "B H W"]
) -> Float[Array, "B"]:
  del valid
  return jnp.ones(tracks.shape[0], jnp.float32)


def _first_frame_range(
  tracks: Float[Array, "B T H W 3"], valid: Bool[Array, "B H W"]
) -> Float[Array, "B"]:
  """Widest axis extent of the valid points of frame 0."""
  first, mask = tracks[:, 0], valid[..., None]
  high = jnp.max(jnp.where(mask, first, -jnp.inf), axis=(1, 2))
  low = jnp.min(jnp.where(mask, first, jnp.inf), axis=(1, 2))
  return _or_one(jnp.max(high - low, axis=-1))


def _global_max(
  tracks: Float[Array, "B T H W 3"], valid: Bool[Array, "B H W"]
) -> Float[Array, "B"]:
  """Largest coordinate of the valid points over all frames."""
  size = jnp.where(valid[:, None, ..., None], jnp.abs(tracks), 0.0)
  return _or_one(jnp.max(size, axis=(1, 2, 3, 4)))


def _or_one(scale: Float[Array, "B"]) -> Float[Array, "B"]:
  """The scale where it is finite and positive, else 1."""
  return jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1.0)


def _by_depth(
  depth: Float[Array, "B H W"],
  alpha: Float[Array, "B 2"],
  scale: Float[Array, "B"],
) -> Float[Array, "B 1 H W 3"]:
  """Metres per unit of motion on each axis: (z0 / ax, z0 / ay, z0)."""
  del scale
  factors = jnp.concatenate([alpha, jnp.ones_like(alpha[:, :1])], axis=-1)
  return (depth[..., None] / factors[:, None, None])[:, None]


def _by_scale(
  depth: Float[Array, "B H W"],
  alpha: Float[Array, "B 2"],
  scale: Float[Array, "B"],
) -> Float[Array, "B 1 1 1 1"]:
  del depth, alpha
  return scale[:, None, None, None, None]


def _first(first: Float[Array, "B 1 H W 3"]) -> Float[Array, "B 1 H W 3"]:
  return first


def _camera(first: Float[Array, "B 1 H W 3"]) -> Float[Array, "B 1 H W 3"]:
  return jnp.zeros_like(first)


@dataclasses.dataclass(frozen=True)
class _Rule:
  """A mode: motion is (P_t - origin) / unit.

  Attributes:
    scale: one number of a scene, from its finite tracks and their validity.
    unit: metres per unit of motion on each axis, from the first depths, the
      camera factors and the scale.
    origin: where motion starts, from the points of frame 0.
  """

  scale: Callable[..., Float[Array, "B"]]
  unit: Callable[..., Float[Array, "B 1 H W 3"]]
  origin: Callable[..., Float[Array, "B 1 H W 3"]]


_RULES = {
  "depth": _Rule(_no_scale, _by_depth, _first),
  "first_frame_range": _Rule(_first_frame_range, _by_scale, _first),
  "global_max": _Rule(_global_max, _by_scale, _camera),
  "displacement": _Rule(_no_scale, _by_scale, _first),
}
MODES = tuple(_RULES)


def _rule(mode: str) -> _Rule:
  if mode not in _RULES:
    raise ValueError(
      f"unknown motion normalisation {mode!r}: choose one of "
      + ", ".join(MODES)
    )
  return _RULES[mode]
