"""Integrators of the probability flow: Euler, UniPC and DPM-Solver++.

All three are one scan over a table of coefficients; only the calls of the
network are traced. Latents stay float32 all the way.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax.sampling import sampler_options, schedules


@flax.struct.dataclass
class Step:
  """Where a sampler stands.

  Attributes:
    number: of the step, counted from 0.
    timestep: what the network is told, 1000 sigma or its integer part.
  """

  number: Int[Array, ""]
  timestep: Float[Array, "B"]


# (latents, step, memory) -> (velocity, memory, what is to be kept of the step)
VelocityFn = Callable[
  [Float[Array, "B ..."], Step, Any], tuple[Float[Array, "B ..."], Any, Any]
]


@flax.struct.dataclass
class Solution:
  """The latents on their way from noise to data, and what led there.

  Attributes:
    latents: at the present noise level, as the last step predicted them.
    corrected: the latents one level before.
    data: the clean latents that the network saw one level before.
    earlier_data: the same two levels before.
  """

  latents: Float[Array, "B ..."]
  corrected: Float[Array, "B ..."]
  data: Float[Array, "B ..."]
  earlier_data: Float[Array, "B ..."]


def start(noise: Float[Array, "B ..."]) -> Solution:
  """The solution at the first noise level."""
  latents = noise.astype(jnp.float32)
  return Solution(latents, *[jnp.zeros_like(latents)] * 3)


def schedule_of(config: sampler_options.SamplerConfig) -> schedules.Schedule:
  """The noise levels and coefficients of a configured sampler."""
  sigmas, timesteps = schedules.noise_levels(
    config.sampler, config.num_steps, config.shift, config.schedule
  )
  return schedules.make_schedule(config.sampler, sigmas, timesteps)


def integrate(
  velocity_fn: VelocityFn,
  solution: Solution,
  memory: Any,
  schedule: schedules.Schedule,
  first: int = 0,
) -> tuple[Solution, Any, tuple[Float[Array, "n B ..."], Any]]:
  """Follows the flow over the steps of a schedule.

  Args:
    velocity_fn: velocity of latents, and the memory that it passes from step
      to step.
    solution: where the schedule starts.
    memory: what `velocity_fn` is given at the first step; may be None.
    schedule: the steps; may be a part of a sampler's schedule.
    first: number of its first step.

  Returns: the solution where the schedule ends, the memory, and for each step
    the latents after it and what `velocity_fn` returned to be kept.
  """

  def step(carry: Any, row: Any) -> Any:
    solution, memory = carry
    number, timestep, sigma, corrector, predictor = row
    latents = solution.latents
    place = Step(number, jnp.full(latents.shape[0], timestep))
    velocity, memory, kept = velocity_fn(latents, place, memory)
    data = latents - sigma * velocity.astype(jnp.float32)
    corrected = _weighted(
      corrector,
      (latents, solution.corrected, solution.earlier_data, solution.data, data),
    )
    following = _weighted(predictor, (corrected, solution.data, data))
    solution = Solution(following, corrected, data, solution.data)
    return (solution, memory), (following, kept)

  count = len(schedule.timesteps)
  rows = (
    jnp.arange(first, first + count),
    jnp.asarray(schedule.timesteps, jnp.float32),
    jnp.asarray(schedule.sigmas[:-1], jnp.float32),
    jnp.asarray(schedule.corrector, jnp.float32),
    jnp.asarray(schedule.predictor, jnp.float32),
  )
  (solution, memory), kept = jax.lax.scan(step, (solution, memory), rows)
  return solution, memory, kept


def _weighted(
  weights: Float[Array, "k"], terms: tuple[Float[Array, "B ..."], ...]
) -> Float[Array, "B ..."]:
  return sum(weight * term for weight, term in zip(weights, terms))
