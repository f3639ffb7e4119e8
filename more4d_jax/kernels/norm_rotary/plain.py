"""Norm and rotation in plain JAX, with a gradient that keeps only inputs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.kernels.norm_rotary import reference


def forward(
  inputs: reference.Inputs, *, num_heads: int, eps: float
) -> Float[Array, "B N K D"]:
  """As `reference.norm_rotary`."""
  return reference.norm_rotary(*inputs, num_heads=num_heads, eps=eps)


def backward(
  inputs: reference.Inputs,
  d_out: Float[Array, "B N K D"],
  *,
  num_heads: int,
  eps: float,
) -> reference.Gradients:
  """Returns the gradients of `x`, `scale` and `square`.

  Args:
    inputs: x, scale, angles and square, as given to `forward`.
    d_out: of the output.
    num_heads: heads in `x`.
    eps: added to the mean of squares.
  """
  x, scale, angles, square = inputs
  given = square is not None
  square = square if given else reference.mean_square(x)
  inverse = jax.lax.rsqrt(square + eps)[..., None]
  cos, sin = jnp.split(angles, 2, axis=-1)
  back = jnp.concatenate([cos, -sin], axis=-1)
  d_normed = reference.rotate(d_out.astype(jnp.float32), back)
  d_normed = d_normed.reshape(x.shape)
  wide = x.astype(jnp.float32)
  d_scale = jnp.sum(d_normed * (wide * inverse), axis=(0, 1))
  d_x = scale * d_normed
  dot = jnp.sum(d_x * wide, axis=-1, keepdims=True)
  d_square = -0.5 * inverse**3 * dot
  d_x = inverse * d_x
  if given:
    return d_x.astype(x.dtype), d_scale, d_square[..., 0]
  d_x = d_x + wide * (d_square * (2 / x.shape[-1]))
  return d_x.astype(x.dtype), d_scale, None
