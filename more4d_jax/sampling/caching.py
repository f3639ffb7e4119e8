"""Samplers that leave out work: TeaCache and skipped guidance.

TeaCache watches how fast the modulation of the layers changes from step to
step. While the change, added up, stays small, the layers are left out and what
they last added to the tokens is added again. Source:
docs/method/transformer.md#teacache.
"""

import re
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from more4d_jax import partitioning
from more4d_jax.sampling import networks, sampler_options

# Polynomials that turn the change of the modulation into one of the output,
# highest power first. "plain" is the change itself, for networks without a
# fit of their own.
FITS = {
  "plain": (1.0, 0.0),
  "wan_1p3b": (
    -5.21862437e4, 9.23041404e3, -5.28275948e2, 1.36987616e1, -4.99875664e-2,
  ),
  "wan_t2v_14b": (
    -3.03318725e5, 4.90537029e4, -2.65530556e3, 5.87365115e1, -3.15583525e-1,
  ),
  "wan_i2v_14b_480p": (
    2.57151496e5, -3.54229917e4, 1.40286849e3, -1.35890334e1, 1.32517977e-1,
  ),
  "wan_14b": (
    8.10705460e3, 2.13393892e3, -3.72934672e2, 1.66203073e1, -4.17769401e-2,
  ),
}  # fmt: skip

# In this order; names are those of published weights or of our sizes.
_FIT_OF_NAME = (
  (r"1\.3B|^1p3b$", "wan_1p3b"),
  (r"T2V-14B", "wan_t2v_14b"),
  (r"I2V-14B-480P", "wan_i2v_14b_480p"),
  (r"14B|^14b$", "wan_14b"),
)


def fit_of(name: str) -> str:
  """The key of `FITS` for weights of a name or a network of a named size.

  Differs from the original: Fun V1.1 14B has a fit, that of Fun 14B, and a
  name without a fit is "plain" instead of switching the cache off.
  """
  for pattern, fit in _FIT_OF_NAME:
    if re.search(pattern, name):
      return fit
  return "plain"


def guided_steps(config: sampler_options.SamplerConfig) -> int:
  """How many steps, the first ones, guidance takes part in.

  The others, from step n (1 - cfg_skip) on, follow the prompt alone.
  """
  if config.guidance_scale <= 1:
    return 0
  start = config.num_steps * (1 - config.cfg_skip)
  return sum(step < start for step in range(config.num_steps))


@flax.struct.dataclass
class Policy:
  """When TeaCache runs the layers; arguments of a compiled step.

  Attributes:
    threshold: the added-up change from which on they run again.
    start: the first steps always run them; at least 1.
    fit: polynomial of the change, see `FITS`.
  """

  threshold: Float[ArrayLike, ""]
  start: Int[ArrayLike, ""]
  fit: Float[ArrayLike, "k"]


def policy(threshold: float, start: int, fit: Sequence[float]) -> Policy:
  """A policy of plain numbers; all fits are brought to one length."""
  longest = max(map(len, FITS.values()))
  padded = (*(0.0,) * (longest - len(fit)), *fit)
  return Policy(
    np.float32(threshold), np.int32(start), np.asarray(padded, np.float32)
  )


def policy_of(config: sampler_options.SamplerConfig) -> Policy | None:
  """The policy of a configured sampler, None where layers always run."""
  if not config.teacache:
    return None
  return policy(
    config.teacache, config.teacache_start, FITS[config.teacache_fit]
  )


@flax.struct.dataclass
class TeaCache:
  """State of TeaCache between steps.

  Attributes:
    modulation: of the last step.
    distance: change added up since the layers last ran.
    residual: what the layers then added to the tokens.
  """

  modulation: Float[Array, "B M 6 D"]
  distance: Float[Array, ""]
  residual: Float[Array, "B N D"]


def start(tokens: Any, modulation: Any) -> TeaCache:
  """An empty cache for arrays of these shapes; the first step fills it."""
  residual = jnp.zeros(tokens.shape, jnp.float32)
  return TeaCache(
    modulation=jnp.zeros(modulation.shape, jnp.float32),
    distance=jnp.float32(0),
    residual=partitioning.constrain(residual, "batch", "tokens", "act_embed"),
  )


def last_half(cache: TeaCache) -> TeaCache:
  """The cache of the prompt's half of a guided batch."""
  return cache.replace(
    modulation=jnp.split(cache.modulation, 2)[1],
    residual=jnp.split(cache.residual, 2)[1],
  )


def relative_change(
  before: Float[Array, "*S"], now: Float[Array, "*S"]
) -> Float[Array, ""]:
  """Mean absolute change over the mean magnitude before, 0 from nothing."""
  size = jnp.mean(jnp.abs(before))
  change = jnp.mean(jnp.abs(now - before))
  return jnp.where(size > 0, change / jnp.where(size > 0, size, 1), 0)


def velocity(
  model: networks.BoundModule,
  embedded: tuple[Any, Any, Any],
  number: Int[ArrayLike, ""],
  cache: TeaCache,
  policy: Policy,
) -> tuple[Float[Array, "B t h w C"], TeaCache, Bool[Array, ""]]:
  """One call of a transformer, its layers left out where that is harmless.

  Both outcomes are in the program; the decision is one number, alike on every
  device and for every sample, since all samples share their timesteps.

  Args:
    model: with the methods `transform` and `finish`.
    embedded: what its method `embed` returned.
    number: of the step.
    cache: after the step before.
    policy: threshold, fit and first steps.

  Returns: the velocity, the cache after this step, whether the layers ran.
  """
  tokens, inputs, head = embedded
  change = relative_change(cache.modulation, inputs.modulation)
  distance = cache.distance + jnp.polyval(policy.fit, change)
  reuse = (number >= policy.start) & (distance < policy.threshold)

  def run() -> tuple[Array, Array]:
    transformed = model(tokens, inputs, method="transform")
    return transformed, transformed - tokens

  def leave_out() -> tuple[Array, Array]:
    return tokens + cache.residual, cache.residual

  transformed, residual = jax.lax.cond(reuse, leave_out, run)
  residual = partitioning.constrain(residual, "batch", "tokens", "act_embed")
  distance = jnp.where(reuse, distance, 0.0)
  following = TeaCache(inputs.modulation, distance, residual)
  return model(transformed, head, method="finish"), following, ~reuse
