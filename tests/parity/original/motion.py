"""Normalised motion exactly as the original computes it, faults included.

Differences from `motion.normalise`: invalid points are not masked, and
`global_max` takes one maximum over the whole batch.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.geometry import motion


def normalise(
  tracks: Float[Array, "B T H W 3"], alpha: Float[Array, "B 2"], mode: str
) -> Float[Array, "B T H W 3"]:
  """Returns the motion; not finite where tracks are not.

  Args:
    tracks: metres, in the first camera's frame.
    alpha: camera factors, used by the mode `depth` only.
    mode: one of `motion.MODES`; ValueError otherwise.

  Source: docs/method/trajectories.md#normalisation, the rows marked as the
  original's.
  """
  first = tracks[:, :1]
  if mode == "global_max":
    return tracks / jnp.max(jnp.abs(tracks))
  if mode == "displacement":
    return tracks - first
  if mode == "first_frame_range":
    extent = jnp.max(first, axis=(1, 2, 3)) - jnp.min(first, axis=(1, 2, 3))
    widest = jnp.max(extent, axis=-1)
    widest = jnp.where(widest == 0, 1.0, widest)
    return (tracks - first) / widest[:, None, None, None, None]
  if mode == "depth":
    depth = first[..., 2:]
    usable = jnp.isfinite(depth) & (depth != 0)
    depth = jnp.where(usable, depth, 1.0)
    factors = jnp.concatenate([alpha, jnp.ones_like(alpha[:, :1])], axis=-1)
    return (tracks - first) * factors[:, None, None, None] / depth
  raise ValueError(
    f"unknown motion normalisation {mode!r}: choose one of "
    + ", ".join(motion.MODES)
  )


def fit_length(
  motion_video: Float[Array, "B T H W 3"], frames: int
) -> Float[Array, "B F H W 3"]:
  """Keeps the first frames, or repeats the last one.

  Source: docs/method/trajectories.md#normalisation.
  """
  missing = max(frames - motion_video.shape[1], 0)
  last = jnp.repeat(motion_video[:, -1:], missing, axis=1)
  return jnp.concatenate([motion_video[:, :frames], last], axis=1)
