"""Integrators of the probability flow: Euler, UniPC and DPM-Solver++.

All three are one scan over a table of coefficients; only the calls of the
network are traced. Latents stay float32 all the way.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax.sampling import schedules


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


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How a latent is drawn.

  Attributes:
    num_steps: network evaluations (a guided one counts once).
    guidance_scale: weight of the prompt; at most 1 switches guidance off.
    shift: of the noise schedule; the one of training unless stated.
    sampler: one of `schedules.SAMPLERS`.
    schedule: "shifted", or "compat" for the original's noise levels; see
      `schedules.noise_levels`.
    cfg_skip: share of the steps, the last ones, that follow the prompt alone
      and so cost half; see `caching.guided_steps`.
    teacache: how far the input may drift, accumulated, before the layers run
      again; 0 runs them at every step. See `caching`.
    teacache_start: the first steps always run the layers.
    teacache_fit: a name of `caching.FITS`.
    riflex: number, from 1, of the rotary frequency of frames that is slowed
      down for videos longer than those of training; 0 changes none.
    riflex_scale: of that frequency's period, see `layers.axis_frequencies`.
    smoothing: of decoded motion along time, see `smoothing.smooth`; 4D-STraG
      only.
    keep_rendered: pixels that the renderer drew stay as they are and only
      holes are filled, instead of a video all of which the network drew;
      4D-ViSM only.
  """

  num_steps: int = 50
  guidance_scale: float = 6.0
  shift: float = 5.0
  sampler: str = "euler"
  schedule: str = "shifted"
  cfg_skip: float = 0.0
  teacache: float = 0.0
  teacache_start: int = 5
  teacache_fit: str = "plain"
  riflex: int = 0
  riflex_scale: float = 4.886
  smoothing: float = 0.0
  keep_rendered: bool = False

  def __post_init__(self) -> None:
    schedules.noise_levels(self.sampler, self.num_steps, 1.0, self.schedule)
    for name, low, high in (
      ("guidance_scale", 0.0, math.inf),
      ("shift", math.ulp(0.0), math.inf),
      ("cfg_skip", 0.0, 1.0),
      ("teacache", 0.0, math.inf),
      ("teacache_start", 1.0, math.inf),
      ("riflex", 0.0, math.inf),
      ("riflex_scale", math.ulp(0.0), math.inf),
      ("smoothing", 0.0, math.inf),
    ):
      value = getattr(self, name)
      if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(
          f"expected a {name} of {_range(low, high)}, found {value}"
        )


def _range(low: float, high: float) -> str:
  above = "more than 0" if 0 < low < 1 else f"at least {low:g}"
  return above if high == math.inf else f"{low:g} to {high:g}"


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


def schedule_of(config: SamplerConfig) -> schedules.Schedule:
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
    velocity_fn: velocity of latents, with the memory it hands from step to
      step.
    solution: where the schedule starts.
    memory: what `velocity_fn` is given at the first step; None will do.
    schedule: the steps; a part of a sampler's schedule will do.
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
