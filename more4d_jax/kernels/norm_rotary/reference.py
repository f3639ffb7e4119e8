"""Norm and rotation in float32: the definition of correct."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# What both passes of every implementation are handed, see `norm_rotary`:
# x, scale, angles and square.
Inputs = tuple[
  Float[Array, "B N W"],
  Float[Array, "W"],
  Float[Array, "N D"],
  Float[Array, "B N"] | None,
]
# Of x, scale and square; None where there is no square.
Gradients = tuple[
  Float[Array, "B N W"], Float[Array, "W"], Float[Array, "B N"] | None
]


def mean_square(x: Float[Array, "B N W"]) -> Float[Array, "B N"]:
  """Mean of squares over the width that is here; float64 stays."""
  wide = jnp.promote_types(x.dtype, jnp.float32)
  return jnp.mean(jnp.square(x.astype(wide)), axis=-1)


def rotate(
  x: Float[Array, "B N K D"], angles: Float[Array, "N D"]
) -> Float[Array, "B N K D"]:
  """Turns the pairs (i, i + D/2) of each head, in the dtype of `x`.

  Args:
    x: values by heads.
    angles: cosines of each token's pairs, and their sines after these.
  """
  cos, sin = jnp.split(angles[:, None, :], 2, axis=-1)
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def norm_rotary(
  x: Float[Array, "B N W"],
  scale: Float[Array, "W"],
  angles: Float[Array, "N D"],
  square: Float[Array, "B N"] | None = None,
  *,
  num_heads: int,
  eps: float,
) -> Float[Array, "B N K D"]:
  """Every step in float32; differentiable by jax.

  Args:
    x: outputs of the q or the k map, heads side by side.
    scale: of the norm.
    angles: see `rotate`.
    square: mean of squares of a token over all heads, where `x` holds some;
      None takes that of `x`.
    num_heads: heads in `x`.
    eps: added to the mean of squares.
  Returns: in the dtype of `x`.
  Source: docs/method/transformer.md#rotary-position-embedding, pairs as
  `models.rotary_order` has them.
  """
  square = mean_square(x) if square is None else square
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  normed = scale * (wide * jax.lax.rsqrt(square + eps)[..., None])
  heads = normed.reshape(*x.shape[:-1], num_heads, -1)
  return rotate(heads, angles).astype(x.dtype)
