"""Drawing a latent: a transformer under conditions, a sampler, guidance.

One step is one compiled program; the host goes from step to step. Noise level,
coefficients of the solver, weight of guidance and thresholds are arguments of
the program, so that other settings compile nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from more4d_jax import errors, partitioning
from more4d_jax.models import backbone, layers
from more4d_jax.sampling import (
  caching,
  guidance,
  networks,
  sampler_options,
  solvers,
)

# Number of the step that was done, and the latents it led to.
AfterStep = Callable[[int, Float[Array, "B t h w C"]], None]


@flax.struct.dataclass
class Drawn:
  """Latents, and the steps by which they were drawn.

  Attributes:
    latents: normalised.
    computed: the steps at which the transformer's layers ran.
  """

  latents: Float[ArrayLike, "B t h w C"]
  computed: Bool[np.ndarray, "n"]


@flax.struct.dataclass
class State:
  """What a step passes on to the next one.

  Attributes:
    solution: on its way from noise to data.
    cache: of TeaCache, of both halves of a guided step; None without it.
  """

  solution: solvers.Solution
  cache: caching.TeaCache | guidance.Stacked | None


@flax.struct.dataclass
class Numbers:
  """Settings of a sampler that all its steps share.

  Attributes:
    guidance_scale: weight of the prompt.
    policy: of TeaCache, None without it.
  """

  guidance_scale: Float[ArrayLike, ""]
  policy: caching.Policy | None


def draw(
  model: networks.BoundModule,
  conditions: Any,
  negative: Any | None,
  noise: Float[ArrayLike, "B t h w C"],
  sampler: sampler_options.SamplerConfig,
  *,
  halves: str = "batch",
  after_step: AfterStep | None = None,
) -> Drawn:
  """Draws normalised latents.

  Args:
    model: a transformer, called with (latents, timesteps, conditions).
    conditions: of the prompts.
    negative: of what guidance leads away from; not needed without guidance.
    noise: standard normal.
    sampler: steps, guidance, schedule, what to leave out.
    halves: one of `guidance.HALVES`.
    after_step: called when a step is done. What it raises, and an interrupt
      from the keyboard, ends the drawing between two steps.

  Raises:
    ValueError: if guidance has nothing to lead away from.
  """
  model = with_riflex(model, sampler, frames=noise.shape[1])
  guided = caching.guided_steps(sampler)
  form = halves if guided else None
  if guided:
    if negative is None:
      raise ValueError("guidance needs negative conditions, found None")
    given = _paired(negative, conditions, halves=halves)
  else:
    given = _placed(conditions)
  numbers = numbers_of(sampler)
  state = begin(model, given, noise, cached=bool(sampler.teacache), halves=form)
  computed = []
  for row in solvers.rows(solvers.schedule_of(sampler)):
    if guided and row.number == guided:
      form, given = None, _placed(conditions)
      state = _last_half(state)
    state, ran = step(model, given, state, row, numbers, halves=form)
    computed.append(bool(ran))  # Waits until the step is done.
    if after_step is not None:
      after_step(int(row.number), state.solution.latents)
  return Drawn(state.solution.latents, np.asarray(computed))


def numbers_of(sampler: sampler_options.SamplerConfig) -> Numbers:
  """The settings that are arguments of a step."""
  return Numbers(np.float32(sampler.guidance_scale), caching.policy_of(sampler))


@functools.partial(jax.jit, static_argnames=("cached", "halves"))
def begin(
  model: networks.BoundModule,
  conditions: Any,
  noise: Float[ArrayLike, "B t h w C"],
  *,
  cached: bool,
  halves: str | None,
) -> State:
  """The state before the first step.

  Args:
    model: the transformer.
    conditions: as `step` takes them.
    noise: standard normal.
    cached: whether TeaCache leaves layers out.
    halves: see `step`.
  """
  solution = _constrained(solvers.start(noise))
  cache = None
  if cached:
    latents = solution.latents
    if halves == "batch":
      latents = guidance.pair(latents, latents)
    one = conditions.last if halves == "sequence" else conditions
    cache = _empty_cache(model, latents, one)
    if halves == "sequence":
      cache = guidance.stack(cache, cache)
  return State(solution, cache)


@functools.partial(
  jax.jit, static_argnames=("halves",), donate_argnames=("state",)
)
def step(
  model: networks.BoundModule,
  conditions: Any,
  state: State,
  row: solvers.Row,
  numbers: Numbers,
  *,
  halves: str | None,
) -> tuple[State, Bool[Array, ""]]:
  """One step of a sampler; the program that most of the time is spent in.

  Args:
    model: the transformer.
    conditions: of the prompts; of both halves, joined by `guidance.pair` or
      `guidance.stack`, if there are halves.
    state: before the step; its memory is taken over.
    row: of the schedule.
    numbers: of the sampler.
    halves: one of `guidance.HALVES`; None for a step without guidance.

  Returns: the state after the step, and whether the layers ran.
  """
  latents = state.solution.latents
  velocity_of = functools.partial(_velocity, model, row, numbers.policy)
  if halves == "sequence":
    found = guidance.in_sequence(
      functools.partial(velocity_of, latents),
      conditions,
      state.cache or guidance.Stacked([], jax.tree.structure(None)),
    )
    velocity, *kept, computed = found.leaves
    velocity, computed = jnp.concatenate(velocity), computed[0]
    cache = state.cache and state.cache.replace(leaves=kept)
  else:
    doubled = guidance.pair(latents, latents) if halves else latents
    velocity, cache, computed = velocity_of(doubled, conditions, state.cache)
  if halves:
    velocity = guidance.combine(velocity, numbers.guidance_scale)
  solution = solvers.advance(state.solution, velocity, row)
  return State(_constrained(solution), cache), computed


def _velocity(
  model: networks.BoundModule,
  row: solvers.Row,
  policy: caching.Policy | None,
  latents: Float[Array, "B t h w C"],
  conditions: Any,
  cache: caching.TeaCache | None,
) -> tuple[Float[Array, "B t h w C"], caching.TeaCache | None, Bool[Array, ""]]:
  """The model's velocity, with or without TeaCache."""
  timestep = jnp.full(latents.shape[0], row.timestep)
  if policy is None:
    return model(latents, timestep, conditions), cache, jnp.bool_(True)
  embedded = model(latents, timestep, conditions, method="embed")
  return caching.velocity(model, embedded, row.number, cache, policy)


def _constrained(tree: Any) -> Any:
  """Divides arrays by samples where a mesh does, whatever they came from."""
  return jax.tree.map(
    lambda x: partitioning.constrain(x, "batch", *(None,) * (x.ndim - 1)), tree
  )


# Conditions are put where they are needed once, not at every step.
_placed = jax.jit(_constrained)


@functools.partial(jax.jit, static_argnames="halves")
def _paired(negative: Any, positive: Any, *, halves: str) -> Any:
  if halves == "sequence":
    return guidance.stack(negative, positive)
  return _constrained(guidance.pair(negative, positive))


@jax.jit
def _last_half(state: State) -> State:
  """The state from where guidance takes no part any more."""
  cache = state.cache
  if cache is None:
    return state
  if isinstance(cache, guidance.Stacked):
    return state.replace(cache=cache.last)
  return state.replace(cache=caching.last_half(cache))


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
