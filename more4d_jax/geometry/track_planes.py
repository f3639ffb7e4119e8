"""Tracks from planes of coefficients, on the device.

The counterpart of `data.track_planes`, whose `padded` makes the arguments: K
planes are sent to the device instead of T frames and multiplied there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def motion(
  basis: Float[Array, "T K"],
  planes: Float[Array, "K 3 H W"],
  corrected: Int[Array, "C"],
  corrections: Float[Array, "T C 3"],
) -> Float[Array, "T H W 3"]:
  """Displacement from frame 0 in units of each point's first depth.

  Args:
    basis: of motion over time, zero at frame 0.
    planes: coefficients of x, y, z.
    corrected: points in row-major order; H * W stands for none.
    corrections: what to add to their motion.
  """
  height, width = planes.shape[2:]
  product = jnp.einsum(
    "tk,kchw->thwc", basis, planes, precision=jax.lax.Precision.HIGHEST
  )
  flat = product.reshape(len(basis), height * width, 3)
  flat = flat.at[:, corrected].add(corrections, mode="drop")
  return flat.reshape(product.shape)


def tracks(
  factors: dict[str, Array],
) -> Float[Array, "T H W 3"]:
  """Positions of all points, of what `data.track_planes` padded.

  Args:
    factors: `basis`, `planes`, `corrected`, `corrections` as in `motion`;
      `first` [H W 3], positions at frame 0; `listed` [E] points whose
      positions are `exact` [T E 3].
  """
  first = factors["first"]
  moved = motion(
    factors["basis"],
    factors["planes"],
    factors["corrected"],
    factors["corrections"],
  )
  found = first + moved * first[..., 2:]
  flat = found.reshape(len(found), -1, 3)
  flat = flat.at[:, factors["listed"]].set(factors["exact"], mode="drop")
  return flat.reshape(found.shape)
