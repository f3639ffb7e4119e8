"""The flow-matching loss that STraG and ViSM share (spec 06)."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from more4d_jax.models import flow_matching, latent_stats, video_vae
from more4d_jax.training import step as steps

Velocity = Callable[
  [Float[Array, "B t h w C"], Float[Array, "B"]], Float[Array, "B t h w C"]
]


def posterior_sample(
  mean: Float[Array, "B t h w C"],
  logvar: Float[Array, "B t h w C"],
  stats: latent_stats.LatentStats,
  keys: steps.Keys,
) -> Float[Array, "B t h w C"]:
  """Draws raw latents of a VAE's posterior and standardises them."""
  return stats.normalise(
    video_vae.sample_posterior(mean, logvar, keys("posterior"))
  )


def flow_loss(
  velocity: Velocity,
  latents: Float[Array, "B t h w C"],
  config: flow_matching.FlowConfig,
  keys: steps.Keys,
) -> tuple[Float[Array, ""], steps.Metrics]:
  """Noises latents and compares the network's velocity with the true one.

  Args:
    velocity: (noisy latents, timestep) -> velocity, under its conditions.
    latents: standardised clean latents.
    config: noise levels and weights.
    keys: of this step.
  """
  batch = latents.shape[0]
  sigma = flow_matching.sample_sigmas(keys("sigma"), batch, config)
  noise = jax.random.normal(keys("noise"), latents.shape)
  noisy = flow_matching.add_noise(latents, noise, sigma)
  predicted = velocity(noisy, flow_matching.TIMESTEP_SCALE * sigma)
  target = flow_matching.velocity_target(latents, noise)
  loss = flow_matching.flow_loss(predicted, target, sigma, config)
  return loss, {}
