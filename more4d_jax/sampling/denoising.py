"""Drawing a latent: a transformer under conditions, a sampler, guidance."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from more4d_jax import errors
from more4d_jax.models import backbone, layers
from more4d_jax.sampling import (
  caching,
  guidance,
  networks,
  sampler_options,
  solvers,
)


@flax.struct.dataclass
class Drawn:
  """Latents, and the steps by which they were drawn.

  Attributes:
    latents: normalised.
    steps: the latents after each step; a compiled program does not compute
      them where they are not used.
    computed: the steps at which the transformer's layers ran.
  """

  latents: Float[Array, "B t h w C"]
  steps: Float[Array, "n B t h w C"]
  computed: Bool[Array, "n"]


def draw(
  model: networks.BoundModule,
  conditions: Any,
  negative: Any | None,
  noise: Float[Array, "B t h w C"],
  sampler: sampler_options.SamplerConfig,
) -> Drawn:
  """Draws normalised latents.

  Args:
    model: a transformer, called with (latents, timesteps, conditions).
    conditions: of the prompts.
    negative: of what guidance leads away from; not needed without guidance.
    noise: standard normal.
    sampler: steps, guidance, schedule, what to leave out.

  Raises:
    ValueError: if guidance has nothing to lead away from.
  """
  model = with_riflex(model, sampler, frames=noise.shape[1])
  schedule = solvers.schedule_of(sampler)
  guided = caching.guided_steps(sampler)
  solution, cache, seen = solvers.start(noise), None, []
  if guided:
    if negative is None:
      raise ValueError("guidance needs negative conditions, found None")
    doubled = guidance.pair(negative, conditions)
    if sampler.teacache:
      cache = _empty_cache(model, guidance.pair(noise, noise), doubled)
    velocity = guidance.guided(
      _velocity_fn(model, doubled, sampler), sampler.guidance_scale
    )
    part = schedule.part(0, guided)
    solution, cache, kept = solvers.integrate(velocity, solution, cache, part)
    seen.append(kept)
  if guided < sampler.num_steps:
    if guided and cache is not None:
      cache = caching.second_half(cache)
    elif sampler.teacache:
      cache = _empty_cache(model, noise, conditions)
    velocity = _velocity_fn(model, conditions, sampler)
    part = schedule.part(guided, sampler.num_steps)
    solution, cache, kept = solvers.integrate(
      velocity, solution, cache, part, first=guided
    )
    seen.append(kept)
  steps, computed = jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen)
  return Drawn(solution.latents, steps, computed)


def _velocity_fn(
  model: networks.BoundModule,
  conditions: Any,
  sampler: sampler_options.SamplerConfig,
) -> solvers.VelocityFn:
  """The model under fixed conditions, with or without TeaCache."""
  policy = caching.policy_of(sampler)

  def plain(latents: Array, step: solvers.Step, memory: Any) -> Any:
    velocity = model(latents, step.timestep, conditions)
    return velocity, memory, jnp.bool_(True)

  def cached(latents: Array, step: solvers.Step, memory: Any) -> Any:
    embedded = model(latents, step.timestep, conditions, method="embed")
    return caching.velocity(model, embedded, step, memory, policy)

  return cached if policy else plain


def _empty_cache(
  model: networks.BoundModule, latents: Array, conditions: Any
) -> caching.TeaCache:
  """A cache of the shapes that the model's tokens have."""

  def shapes(latents: Array, conditions: Any) -> tuple[Array, Array]:
    timestep = jnp.zeros(latents.shape[0])
    tokens, inputs, _ = model(latents, timestep, conditions, method="embed")
    return tokens, inputs.modulation

  return caching.start(*jax.eval_shape(shapes, latents, conditions))


def with_riflex(
  model: networks.BoundModule,
  sampler: sampler_options.SamplerConfig,
  frames: int,
) -> networks.BoundModule:
  """The model with one rotary frequency slowed down, if the sampler says so.

  Args:
    model: whose `config.dit` is a `backbone.DiTConfig`.
    sampler: number of the frequency, and scale.
    frames: of the latent video.
  """
  if not sampler.riflex:
    return model
  config = model.module.config
  dit = riflex_config(config.dit, sampler, frames)
  config = dataclasses.replace(config, dit=dit)
  return model.replace(module=model.module.clone(config=config))


def riflex_config(
  dit: backbone.DiTConfig, sampler: sampler_options.SamplerConfig, frames: int
) -> backbone.DiTConfig:
  """A transformer's configuration with RIFLEx, if the sampler says so.

  Raises:
    UserError: if the transformer has fewer frequencies of frames.
  """
  if not sampler.riflex:
    return dit
  times, _, _ = layers.axis_frequencies(dit.layer.head_dim)
  if sampler.riflex > len(times):
    raise errors.UserError(
      f"expected riflex of 0 to {len(times)}, as many rotary frequencies of "
      f"frames as this network has, found {sampler.riflex}: choose another"
    )
  riflex = (sampler.riflex, frames, sampler.riflex_scale)
  return dataclasses.replace(dit, riflex=riflex)
