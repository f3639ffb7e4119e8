"""The noise that samplers start from."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax import rng
from more4d_jax.sampling import sample_strag


def latents(
  seed: int, purpose: str, first: int, size: tuple[int, int, int, int]
) -> Float[Array, "B t h w C"]:
  """Standard normal latents; each depends on seed and number alone.

  Args:
    seed: of the run.
    purpose: "strag" or "vism".
    first: number of the first sample.
    size: samples, frames, height and width in pixels.
  """
  count, *shape = sample_strag.latent_shape(*size)
  draw = functools.partial(jax.random.normal, shape=tuple(shape))
  keys = [rng.key(seed, f"{purpose}_noise", first + i) for i in range(count)]
  return jnp.stack([draw(key) for key in keys])
