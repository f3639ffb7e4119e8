"""Classifier-free guidance on one doubled batch."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.sampling import solvers


def pair(negative: Any, positive: Any) -> Any:
  """Concatenates two trees of conditions along the batch, negative first."""
  return jax.tree.map(
    lambda a, b: jnp.concatenate([a, b], axis=0), negative, positive
  )


def combine(
  velocity: Float[Array, "B2 ..."], scale: float
) -> Float[Array, "B ..."]:
  """Mixes the two halves of a doubled batch in float32.

  Args:
    velocity: the negative prompt's half, then the prompt's.
    scale: w of v_neg + w (v_pos - v_neg).

  Source: docs/method/conditioning.md#guidance. Differs from the original:
  float32.
  """
  negative, positive = jnp.split(velocity.astype(jnp.float32), 2, axis=0)
  return negative + scale * (positive - negative)


def guided(velocity_fn: solvers.VelocityFn, scale: float) -> solvers.VelocityFn:
  """Turns a velocity over a doubled batch into a guided one.

  Args:
    velocity_fn: takes doubled latents and timesteps; its conditions are
      doubled too, negative first.
    scale: guidance scale.

  Returns: a velocity over the batch itself, for `solvers.integrate`.
  """

  def single(latents: Array, step: solvers.Step, memory: Any) -> Any:
    doubled = step.replace(timestep=pair(step.timestep, step.timestep))
    velocity, memory, kept = velocity_fn(
      pair(latents, latents), doubled, memory
    )
    return combine(velocity, scale), memory, kept

  return single
