"""Depth maps made ready for the video autoencoder.

Source: docs/method/conditioning.md#depth-video.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_SMALLEST = 1e-5  # Metres; nearer readings are holes, not surfaces.
_LARGEST = 10000.0  # Metres.


def valid_depth(depth: Float[Array, "B H W"]) -> Bool[Array, "B H W"]:
  """True where a depth is finite and not (almost) zero or negative."""
  return jnp.isfinite(depth) & (depth >= _SMALLEST)


def clean_depth(
  depth: Float[Array, "B H W"], *, compat: bool = False
) -> Float[Array, "B H W"]:
  """Replaces invalid depths, so that every pixel is positive and finite.

  Args:
    depth: metres; may hold NaN, infinities, zeros and negative numbers.
    compat: the original's rule (clip to [0, 10000], then 1 where NaN or below
      1e-5) instead of ours (invalid pixels get the median of the valid ones
      of their image, or 1 if there are none; then clip at 10000).

  Returns:
    Depth in metres, in [1e-5, 10000].
  """
  if compat:
    clipped = jnp.clip(depth, 0.0, _LARGEST)
    bad = jnp.isnan(clipped) | (clipped < _SMALLEST)
    return jnp.where(bad, 1.0, clipped)
  valid = valid_depth(depth)
  known = jnp.where(valid, depth, jnp.nan)
  median = jnp.nanmedian(known, axis=(-2, -1), keepdims=True)
  filled = jnp.where(valid, depth, jnp.where(jnp.isnan(median), 1.0, median))
  return jnp.minimum(filled, _LARGEST)


def depth_image(
  depth: Float[Array, "B H W"], *, compat: bool = False
) -> Float[Array, "B H W 3"]:
  """Cleans depth and maps each image's range to [-1, 1], on three channels.

  The range is not kept: motion is denormalised with the metric depth itself.
  Repeat the result over time to get the static depth video of STraG.
  """
  depth = clean_depth(depth, compat=compat)
  low = jnp.min(depth, axis=(-2, -1), keepdims=True)
  high = jnp.max(depth, axis=(-2, -1), keepdims=True)
  scaled = 2 * (depth - low) / (high - low + 1e-8) - 1
  return jnp.repeat(scaled[..., None], 3, axis=-1)
