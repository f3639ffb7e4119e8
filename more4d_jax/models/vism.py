"""4D-ViSM: completes a rendered video where points left holes.

The transformer with 36 input channels: noisy latents, packed mask, latents of
the masked rendering. Source:
docs/method/view_completion.md#inpainting-conditioning.
"""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from more4d_jax.models import backbone, denoiser, interpolation
from more4d_jax.models.encoders import image as image_encoder
from more4d_jax.models.encoders import text as text_encoder

PACKED_FRAMES = 4
IN_CHANNELS = 36


@dataclasses.dataclass(frozen=True)
class ViSMConfig:
  """Networks of the view completion.

  Attributes:
    dit: 36 input channels, no reference tokens, no motion features.
    text: text encoder.
    image: image encoder, None for a network without image features.
  """

  dit: backbone.DiTConfig
  text: text_encoder.TextEncoderConfig
  image: image_encoder.ImageEncoderConfig | None = None

  def __post_init__(self) -> None:
    if self.dit.in_channels != IN_CHANNELS:
      raise ValueError(
        f"expected {IN_CHANNELS} input channels; found "
        f"{self.dit.in_channels}; set dit.in_channels"
      )


@flax.struct.dataclass
class ViSMConditions:
  """What the velocity depends on; latents are normalised.

  Attributes:
    text_context: features of the caption.
    mask: packed mask, 1 where the rendering is kept.
    masked: latents of the rendering with holes set to 0 in [-1, 1].
    image_context: image features, None for zeros.
  """

  text_context: Float[ArrayLike, "B L E"]
  mask: Float[ArrayLike, "B t h w 4"]
  masked: Float[ArrayLike, "B t h w C"]
  image_context: Float[ArrayLike, "B I F"] | None = None


class ViSM(denoiser.Denoiser):
  """The transformer and its encoders; conditions are `ViSMConditions`."""

  config: ViSMConfig

  def backbone_conditions(
    self, conditions: ViSMConditions
  ) -> backbone.Conditions:
    """Mask and rendering are concatenated to the noisy latents."""
    parts = [conditions.mask, conditions.masked]
    return backbone.Conditions(
      text_context=conditions.text_context,
      condition_latents=jnp.concatenate(parts, axis=-1),
      image_context=conditions.image_context,
    )

  def example_conditions(
    self,
    latents: Float[Array, "B t h w C"],
    tokens: Int[Array, "B L"],
    image: Float[Array, "B H W 3"],
  ) -> ViSMConditions:
    """Conditions that touch every parameter; the latents stand for all."""
    return ViSMConditions(
      text_context=self.text_context(tokens),
      mask=latents[..., :PACKED_FRAMES],
      masked=latents,
      image_context=self.image_context(image),
    )


def pack_frames(video: Float[Array, "B T H W"]) -> Float[Array, "B t H W 4"]:
  """Groups four frames per latent frame; the first frame stands four times."""
  first = jnp.repeat(video[:, :1], PACKED_FRAMES, axis=1)
  frames = jnp.concatenate([first, video[:, 1:]], axis=1)
  batch, count, height, width = frames.shape
  frames = frames.reshape(
    batch, count // PACKED_FRAMES, PACKED_FRAMES, height, width
  )
  return jnp.moveaxis(frames, 2, -1)


def pack_mask(
  hole: Bool[Array, "B T H W"], compression: int = 8
) -> Float[Array, "B t h w 4"]:
  """Packs a hole mask at latent size, as float32 with 1 where kept.

  Linear resizing without antialiasing: at a factor of 8 a value is the mean
  of the middle 2x2 pixels of its 8x8 cell.

  Args:
    hole: True where the rendering has no point; T is 4k + 1.
    compression: pixels per latent in each direction of space.
  Source: docs/method/view_completion.md#inpainting-conditioning.
  """
  if hole.shape[1] % PACKED_FRAMES != 1:
    raise ValueError(
      f"expected 4k + 1 frames; found {hole.shape[1]}; cut the video"
    )
  keep = pack_frames(1.0 - hole.astype(jnp.float32))
  sizes = [n // compression for n in keep.shape[2:4]]
  return interpolation.resize_axes(keep, (2, 3), sizes)
