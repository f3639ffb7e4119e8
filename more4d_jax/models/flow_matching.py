"""Flow matching: noise levels, noising, velocity target and loss.

Training and sampling share these formulas; all in float32. Sigma is 0 for
clean data and 1 for noise; the timestep is 1000 * sigma. Source:
docs/method/flow_matching.md#objective.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

SAMPLINGS = ("uniform", "stratified", "none", "logit_normal", "mode")
WEIGHTINGS = ("none", "sigma_sqrt", "cosmap", "logit_normal", "mode")
TIMESTEP_SCALE = 1000.0


@dataclasses.dataclass(frozen=True)
class FlowConfig:
  """How noise levels are drawn and errors weighted.

  Attributes:
    shift: of the grid of noise levels; above 1 favours noise.
    sampling: "uniform" over the grid; "stratified" the same with one draw in
      each of as many equal parts as the batch has samples; otherwise a
      density of SD3: "none" (uniform), "logit_normal", "mode".
    weighting: of squared errors, one of `WEIGHTINGS`.
    levels: number of noise levels in the grid.
    logit_mean: of the normal draw of "logit_normal".
    logit_std: of the normal draw of "logit_normal".
    mode_scale: of the density "mode".
    error_limit: elements with a larger absolute error count as zero.
    motion_ratio: share of the loss on differences along time.
  """

  shift: float = 5.0
  sampling: str = "uniform"
  weighting: str = "none"
  levels: int = 1000
  logit_mean: float = 0.0
  logit_std: float = 1.0
  mode_scale: float = 1.29
  error_limit: float = 50.0
  motion_ratio: float = 0.0

  def __post_init__(self) -> None:
    for name, known in (("sampling", SAMPLINGS), ("weighting", WEIGHTINGS)):
      if getattr(self, name) not in known:
        raise ValueError(
          f"{name} is {getattr(self, name)!r}: choose one of {', '.join(known)}"
        )
    if not self.shift > 0:
      raise ValueError(f"shift is {self.shift}: expected a positive number")
    if not 0 <= self.motion_ratio <= 1:
      raise ValueError(f"motion_ratio is {self.motion_ratio}: expected 0 to 1")


def shift_sigma(sigma: Float[Array, "*B"], shift: float) -> Float[Array, "*B"]:
  """Returns shift * s / (1 + (shift - 1) * s)."""
  return shift * sigma / (1 + (shift - 1) * sigma)


def grid_sigma(
  index: Int[Array, "*B"], config: FlowConfig
) -> Float[Array, "*B"]:
  """Noise level of a place in the grid: 0 is pure noise."""
  plain = (config.levels - index.astype(jnp.float32)) / config.levels
  return shift_sigma(plain, config.shift)


def density(draw: Float[Array, "*B"], config: FlowConfig) -> Float[Array, "*B"]:
  """Place in [0, 1) of the grid from a plain draw; 0 is the noisy end.

  Args:
    draw: standard normal for "logit_normal", else uniform in [0, 1).
    config: names the density.
  Source: SD3, docs/method/flow_matching.md#training-noise-levels.
  """
  if config.sampling == "logit_normal":
    return jax.nn.sigmoid(config.logit_mean + config.logit_std * draw)
  if config.sampling == "mode":
    bend = jnp.square(jnp.cos(jnp.pi * draw / 2)) - 1 + draw
    return 1 - draw - config.mode_scale * bend
  return draw


def sample_sigmas(
  key: Key[Array, ""], batch: int, config: FlowConfig
) -> Float[Array, "B"]:
  """Draws a noise level for each sample.

  Raises:
    ValueError: for an unknown sampling.
  """
  if config.sampling not in SAMPLINGS:
    raise ValueError(
      f"flow sampling must be one of {', '.join(SAMPLINGS)}; found "
      f"{config.sampling!r}"
    )
  if config.sampling == "uniform":
    index = jax.random.randint(key, (batch,), 0, config.levels)
    return grid_sigma(index, config)
  if config.sampling == "stratified":
    inside, order = jax.random.split(key)
    place = jnp.arange(batch) + jax.random.uniform(inside, (batch,))
    place = jax.random.permutation(order, place / batch)
  elif config.sampling == "logit_normal":
    place = density(jax.random.normal(key, (batch,)), config)
  else:
    place = density(jax.random.uniform(key, (batch,)), config)
  index = jnp.floor(config.levels * place).astype(jnp.int32)
  return grid_sigma(jnp.clip(index, 0, config.levels - 1), config)


def loss_weight(
  sigma: Float[Array, "*B"], weighting: str
) -> Float[Array, "*B"]:
  """Weight of squared errors at a noise level.

  Raises:
    ValueError: for an unknown weighting.
  """
  if weighting not in WEIGHTINGS:
    raise ValueError(
      f"flow weighting must be one of {', '.join(WEIGHTINGS)}; found "
      f"{weighting!r}"
    )
  if weighting == "sigma_sqrt":
    return sigma**-2
  if weighting == "cosmap":
    return 2 / (jnp.pi * (1 - 2 * sigma + 2 * jnp.square(sigma)))
  return jnp.ones_like(sigma)


def _per_sample(sigma: Float[Array, "B"], like: Float[Array, "B ..."]) -> Array:
  return sigma.reshape(-1, *(1,) * (like.ndim - 1))


def add_noise(
  latents: Float[Array, "B *S"],
  noise: Float[Array, "B *S"],
  sigma: Float[Array, "B"],
) -> Float[Array, "B *S"]:
  """Returns (1 - sigma) * latents + sigma * noise."""
  sigma = _per_sample(sigma, latents)
  return (1 - sigma) * latents + sigma * noise


def velocity_target(
  latents: Float[Array, "B *S"], noise: Float[Array, "B *S"]
) -> Float[Array, "B *S"]:
  """Returns d(noisy latents) / d(sigma) = noise - latents."""
  return noise - latents


def velocity_loss(
  prediction: Float[Array, "B t h w C"],
  target: Float[Array, "B t h w C"],
  sigma: Float[Array, "B"],
  config: FlowConfig,
) -> Float[Array, "B"]:
  """Weighted mean squared error of each sample in float32.

  The mean counts every element, also those that `error_limit` zeroes. Differs
  from the original: its "motion" term takes differences along channels, ours
  along time.
  """
  error = prediction.astype(jnp.float32) - target.astype(jnp.float32)
  kept = jnp.where(jnp.abs(error) <= config.error_limit, error, 0.0)
  weight = _per_sample(loss_weight(sigma, config.weighting), error)
  axes = tuple(range(1, error.ndim))
  loss = jnp.mean(weight * jnp.square(kept), axis=axes)
  if config.motion_ratio == 0:
    return loss
  motion = jnp.mean(jnp.square(jnp.diff(error, axis=1)), axis=axes)
  return (1 - config.motion_ratio) * loss + config.motion_ratio * motion
