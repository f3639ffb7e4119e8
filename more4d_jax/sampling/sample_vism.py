"""From a rendering with holes to a completed video (4D-ViSM)."""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from more4d_jax.models import vism
from more4d_jax.sampling import (
  caching,
  denoising,
  networks,
  sampler_options,
)

CONDITION_VIDEOS = ("masked", "whole")


@dataclasses.dataclass(frozen=True)
class ViSMChoices:
  """What a network is shown; a checkpoint's metadata says how it was trained.

  Attributes:
    image_context: one of `networks.IMAGE_CONTEXTS`; "zeros" as the original
      samples.
    condition_video: "masked" makes holes mid grey; "whole" keeps what the
      rendering holds there (the original's `all_mask`), and a rendering
      without a covered pixel remains a condition.
  """

  image_context: str = "picture"
  condition_video: str = "masked"

  def __post_init__(self) -> None:
    networks.check_choice(
      "image_context", self.image_context, networks.IMAGE_CONTEXTS
    )
    networks.check_choice(
      "condition_video", self.condition_video, CONDITION_VIDEOS
    )


DEFAULT = ViSMChoices()


@flax.struct.dataclass
class ViSMNetworks:
  """What completing a video needs.

  Attributes:
    video_vae: the base autoencoder, with the statistics of its latents.
    vism: the transformer and its encoders.
  """

  video_vae: networks.BoundModule
  vism: networks.BoundModule


@flax.struct.dataclass
class ViSMInputs:
  """Renderings to complete: of S = B scenes, or all of S = 1.

  Attributes:
    rendering: in [0, 1]; colours outside `coverage` do not matter.
    coverage: True where the renderer drew a point.
    image: the picture of the scene, in [0, 1].
    tokens: of the captions.
    negative_tokens: of what guidance leads away from.
  """

  rendering: Float[Array, "B T H W 3"]
  coverage: Bool[Array, "B T H W"]
  image: Float[Array, "S H W 3"]
  tokens: Int[Array, "S L"]
  negative_tokens: Int[Array, "S L"]


def masked_video(
  rendering: Float[Array, "B T H W 3"], coverage: Bool[Array, "B T H W"]
) -> Float[Array, "B T H W 3"]:
  """The rendering in [-1, 1] with holes at 0, which is mid grey."""
  return (rendering * 2 - 1) * coverage[..., None]


def encode_conditions(
  nets: ViSMNetworks,
  inputs: ViSMInputs,
  choices: ViSMChoices = DEFAULT,
) -> vism.ViSMConditions:
  """All conditions of the velocity, computed once for each video.

  A video without a single covered pixel has no condition but its text: mask
  and latents are zero, as in training
  (docs/method/view_completion.md#inpainting-conditioning).
  """
  whole = choices.condition_video == "whole"
  kept = jnp.ones_like(inputs.coverage) if whole else inputs.coverage
  masked = networks.encode_video(
    nets.video_vae, masked_video(inputs.rendering, kept)
  )
  mask = vism.pack_mask(~inputs.coverage)
  drawn = jnp.any(kept, axis=(1, 2, 3))[:, None, None, None, None]
  text = nets.vism(inputs.tokens, method="text_context")
  image = networks.image_context(nets.vism, inputs.image, choices.image_context)
  return vism.ViSMConditions(
    text_context=_for_films(text, len(mask)),
    mask=mask * drawn,
    masked=masked * drawn,
    image_context=None if image is None else _for_films(image, len(mask)),
  )


def _for_films(
  values: Float[Array, "S *rest"], films: int
) -> Float[Array, "B *rest"]:
  """What each film has; what there is one of belongs to all."""
  return jnp.broadcast_to(values, (films, *values.shape[1:]))


def complete_video(
  nets: ViSMNetworks,
  inputs: ViSMInputs,
  noise: Float[Array, "S t h w C"],
  sampler: sampler_options.SamplerConfig,
  choices: ViSMChoices = DEFAULT,
) -> tuple[Float[Array, "B T H W 3"], Bool[Array, "n"]]:
  """Draws a video without holes for each rendering.

  Args:
    nets: the networks.
    inputs: renderings of one size.
    noise: standard normal, of the latents' shape.
    sampler: steps, guidance and schedule.
    choices: what the transformer is shown.

  Returns: video in [0, 1], decoded by the base autoencoder (holes only with
    `keep_rendered`), and the steps at which the transformer's layers ran.
  """
  conditions = encode_conditions(nets, inputs, choices)
  negative = None
  if caching.guided_steps(sampler):
    context = nets.vism(inputs.negative_tokens, method="text_context")
    context = _for_films(context, len(inputs.rendering))
    negative = conditions.replace(text_context=context)
  noise = _for_films(noise, len(inputs.rendering))
  drawn = denoising.draw(nets.vism, conditions, negative, noise, sampler)
  video = networks.decode_video(nets.video_vae, drawn.latents)
  if sampler.keep_rendered:
    video = jnp.where(inputs.coverage[..., None], inputs.rendering, video)
  return video, drawn.computed
