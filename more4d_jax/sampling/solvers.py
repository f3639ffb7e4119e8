"""Integrators of the probability flow: Euler, UniPC and DPM-Solver++.

All three are one formula with a table of coefficients, of which every step
takes a row. Latents stay float32 all the way.
"""

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from more4d_jax.sampling import sampler_options, schedules


@flax.struct.dataclass
class Row:
  """One step of a schedule; see `schedules.Schedule`.

  Numbers are arguments of compiled programs, so that other ones compile
  nothing.

  Attributes:
    number: of the step, counted from 0.
    timestep: what the network is told.
    sigma: the noise level before the step.
    corrector: weights of what the latents are replaced by before it.
    predictor: weights of what it leads to.
  """

  number: Int[ArrayLike, ""]
  timestep: Float[ArrayLike, ""]
  sigma: Float[ArrayLike, ""]
  corrector: Float[ArrayLike, "5"]
  predictor: Float[ArrayLike, "3"]


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
  latents = jnp.array(noise, jnp.float32)
  return Solution(latents, *(jnp.zeros_like(latents) for _ in range(3)))


def schedule_of(config: sampler_options.SamplerConfig) -> schedules.Schedule:
  """The noise levels and coefficients of a configured sampler."""
  sigmas, timesteps = schedules.noise_levels(
    config.sampler, config.num_steps, config.shift, config.schedule
  )
  return schedules.make_schedule(config.sampler, sigmas, timesteps)


def rows(schedule: schedules.Schedule) -> list[Row]:
  """The steps of a schedule as what `advance` takes, on the host."""
  single = np.float32
  return [
    Row(
      number=np.int32(number),
      timestep=single(schedule.timesteps[number]),
      sigma=single(schedule.sigmas[number]),
      corrector=schedule.corrector[number].astype(single),
      predictor=schedule.predictor[number].astype(single),
    )
    for number in range(len(schedule.timesteps))
  ]


def advance(
  solution: Solution, velocity: Float[Array, "B ..."], row: Row
) -> Solution:
  """Follows the flow over one step.

  Args:
    solution: before it.
    velocity: of `solution.latents` at the row's noise level.
    row: noise level and coefficients.
  """
  latents = solution.latents
  data = latents - row.sigma * velocity.astype(jnp.float32)
  corrected = _weighted(
    row.corrector,
    (latents, solution.corrected, solution.earlier_data, solution.data, data),
  )
  following = _weighted(row.predictor, (corrected, solution.data, data))
  return Solution(following, corrected, data, solution.data)


def _weighted(
  weights: Float[ArrayLike, "k"], terms: tuple[Float[Array, "B ..."], ...]
) -> Float[Array, "B ..."]:
  return sum(weight * term for weight, term in zip(weights, terms))
