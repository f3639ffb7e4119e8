"""From a rendering with holes to a completed video (4D-ViSM)."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from more4d_jax.models import flow_matching, vism
from more4d_jax.sampling import guidance, networks, solvers


@flax.struct.dataclass
class ViSMNetworks:
  """What completing a video needs.

  Attributes:
    video_vae: the base autoencoder, with the statistics of its latents.
    vism: the transformer and its encoders.
  """

  video_vae: networks.Bound
  vism: networks.Bound


@flax.struct.dataclass
class ViSMInputs:
  """Renderings to complete.

  Attributes:
    rendering: in [0, 1]; colours outside `coverage` do not matter.
    coverage: True where the renderer drew a point.
    image: the picture of the scene, in [0, 1].
    tokens: of the captions.
    negative_tokens: of what guidance leads away from.
  """

  rendering: Float[Array, "B T H W 3"]
  coverage: Bool[Array, "B T H W"]
  image: Float[Array, "B H W 3"]
  tokens: Int[Array, "B L"]
  negative_tokens: Int[Array, "B L"]


def masked_video(
  rendering: Float[Array, "B T H W 3"], coverage: Bool[Array, "B T H W"]
) -> Float[Array, "B T H W 3"]:
  """The rendering in [-1, 1] with holes at 0, which is mid grey."""
  return (rendering * 2 - 1) * coverage[..., None]


def encode_conditions(
  nets: ViSMNetworks, inputs: ViSMInputs
) -> vism.ViSMConditions:
  """Everything the velocity depends on, computed once per video.

  A video without a single covered pixel has no condition but its text: mask
  and latents are zero, as in training (spec 07 section 5).
  """
  masked = networks.encode_video(
    nets.video_vae, masked_video(inputs.rendering, inputs.coverage)
  )
  mask = vism.pack_mask(~inputs.coverage)
  drawn = jnp.any(inputs.coverage, axis=(1, 2, 3))[:, None, None, None, None]
  return vism.ViSMConditions(
    text_context=nets.vism(inputs.tokens, method="text_context"),
    mask=mask * drawn,
    masked=masked * drawn,
    image_context=nets.vism(inputs.image, method="image_context"),
  )


def complete_video(
  nets: ViSMNetworks,
  inputs: ViSMInputs,
  noise: Float[Array, "B t h w C"],
  sampler: solvers.SamplerConfig,
) -> Float[Array, "B T H W 3"]:
  """Draws a video without holes for each rendering.

  Args:
    nets: the networks.
    inputs: renderings of one size.
    noise: standard normal, of the latents' shape.
    sampler: steps, guidance and schedule.

  Returns: video in [0, 1], decoded by the base autoencoder.
  """
  conditions = encode_conditions(nets, inputs)
  guided = sampler.guidance_scale > 1
  if guided:
    context = nets.vism(inputs.negative_tokens, method="text_context")
    negative = conditions.replace(text_context=context)
    conditions = guidance.pair(negative, conditions)

  def velocity(latents: Array, sigma: Array) -> Array:
    timestep = flow_matching.TIMESTEP_SCALE * sigma
    return nets.vism(latents, timestep, conditions)

  if guided:
    velocity = guidance.guided(velocity, sampler.guidance_scale)
  latents = solvers.euler(velocity, noise, solvers.sigmas_of(sampler))
  return networks.decode_video(nets.video_vae, latents)
