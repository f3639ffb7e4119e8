"""Integrators of the probability flow and their noise schedules."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.models import flow_matching

VelocityFn = Callable[
  [Float[Array, "B ..."], Float[Array, "B"]], Float[Array, "B ..."]
]


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How a latent is drawn.

  Attributes:
    num_steps: network evaluations (a guided one counts once).
    guidance_scale: weight of the prompt; at most 1 switches guidance off.
    shift: of the noise schedule; the one of training unless stated.
    compat: the original's schedule, whose lower end is shifted twice.
  """

  num_steps: int = 50
  guidance_scale: float = 6.0
  shift: float = 5.0
  compat: bool = False


def euler_sigmas(
  num_steps: int, shift: float, *, compat: bool = False
) -> Float[Array, "n"]:
  """Noise levels from 1 to 0, one more than there are steps.

  Args:
    num_steps: number of Euler steps, at least 1.
    shift: m of S_m(s) = m s / (1 + (m - 1) s), applied once.
    compat: the schedule of the original, spec 06 section 5: the grid ends at
      S_m(0.001) and is then shifted again.

  Returns: float32 [num_steps + 1], strictly decreasing, first 1 and last 0.

  Raises:
    ValueError: if there is no step.
  """
  if num_steps < 1:
    raise ValueError(f"a sampler needs at least 1 step, found {num_steps}")
  if compat:
    end = flow_matching.shift_sigma(jnp.float32(0.001), shift)
    grid = jnp.linspace(1.0, end, num_steps, dtype=jnp.float32)
  else:
    grid = jnp.linspace(1.0, 0.0, num_steps + 1, dtype=jnp.float32)[:-1]
  sigmas = flow_matching.shift_sigma(grid, shift)
  return jnp.append(sigmas, 0.0).astype(jnp.float32)


def sigmas_of(config: SamplerConfig) -> Float[Array, "n"]:
  """The noise levels of a configured sampler."""
  return euler_sigmas(config.num_steps, config.shift, compat=config.compat)


def euler(
  velocity_fn: VelocityFn,
  noise: Float[Array, "B ..."],
  sigmas: Float[Array, "n"],
) -> Float[Array, "B ..."]:
  """Follows dx = velocity d(sigma) from noise to a clean latent.

  Args:
    velocity_fn: (latents, sigma [B]) -> velocity, of the latents' shape.
    noise: the latents at `sigmas[0]`.
    sigmas: decreasing noise levels; one Euler step between neighbours.

  Returns: the latents at `sigmas[-1]`, float32 all the way.
  """

  def step(
    latents: Float[Array, "B ..."], ends: tuple[Array, Array]
  ) -> tuple[Float[Array, "B ..."], None]:
    sigma, following = ends
    velocity = velocity_fn(latents, jnp.full(latents.shape[0], sigma))
    change = (following - sigma) * velocity.astype(jnp.float32)
    return latents + change, None

  start = noise.astype(jnp.float32)
  latents, _ = jax.lax.scan(step, start, (sigmas[:-1], sigmas[1:]))
  return latents
