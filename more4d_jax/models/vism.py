"""4D-ViSM: completes a rendered video where points left holes.

The transformer with 36 input channels: noisy latents, packed mask, latents of
the masked rendering. Source: spec 07 section 5.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from more4d_jax.models import backbone, blocks, interpolation
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

  text_context: Float[Array, "B L E"]
  mask: Float[Array, "B t h w 4"]
  masked: Float[Array, "B t h w C"]
  image_context: Float[Array, "B I F"] | None = None


class ViSM(nn.Module):
  """The transformer and its encoders.

  Parameters: "dit", "text_encoder", "image_encoder".
  """

  config: ViSMConfig

  def setup(self) -> None:
    """Makes the networks that the configuration names."""
    config = self.config
    self.dit = backbone.WanDiT(config.dit)
    self.text_encoder = text_encoder.TextEncoder(config.text)
    if config.image is not None:
      self.image_encoder = image_encoder.ImageEncoder(config.image)

  def text_context(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L E"]:
    """Features of captions; rows beyond a caption are zero."""
    return self.text_encoder(tokens)

  def image_context(
    self, image: Float[Array, "B H W 3"]
  ) -> Float[Array, "B I F"] | None:
    """Features of a picture in [0, 1]; None without the encoder."""
    return None if self.config.image is None else self.image_encoder(image)

  def embed(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"],
    conditions: ViSMConditions,
  ) -> tuple[Float[Array, "B N D"], blocks.BlockInputs, backbone.HeadInputs]:
    """The first part of a call, see `backbone.WanDiT.embed`."""
    parts = [conditions.mask, conditions.masked]
    return self.dit.embed(
      latents,
      timestep,
      backbone.Conditions(
        text_context=conditions.text_context,
        condition_latents=jnp.concatenate(parts, axis=-1),
        image_context=conditions.image_context,
      ),
    )

  def transform(
    self, tokens: Float[Array, "B N D"], inputs: blocks.BlockInputs
  ) -> Float[Array, "B N D"]:
    """The layers, which are most of a call."""
    return self.dit.transform(tokens, inputs)

  def finish(
    self, tokens: Float[Array, "B N D"], head: backbone.HeadInputs
  ) -> Float[Array, "B t h w C"]:
    """The last part of a call: tokens to the velocity."""
    return self.dit.finish(tokens, head)

  def __call__(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"],
    conditions: ViSMConditions,
  ) -> Float[Array, "B t h w C"]:
    """Returns the velocity of noisy video latents at 1000 * sigma."""
    tokens, inputs, head = self.embed(latents, timestep, conditions)
    return self.finish(self.transform(tokens, inputs), head)

  def everything(
    self,
    latents: Float[Array, "B t h w C"],
    tokens: Int[Array, "B L"],
    image: Float[Array, "B H W 3"],
  ) -> Float[Array, "B t h w C"]:
    """Touches every parameter; for `init` only."""
    conditions = ViSMConditions(
      text_context=self.text_context(tokens),
      mask=latents[..., :PACKED_FRAMES],
      masked=latents,
      image_context=self.image_context(image),
    )
    return self(latents, jnp.ones(latents.shape[:1]), conditions)


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
  Source: spec 07 section 5.
  """
  if hole.shape[1] % PACKED_FRAMES != 1:
    raise ValueError(
      f"expected 4k + 1 frames; found {hole.shape[1]}; cut the video"
    )
  keep = pack_frames(1.0 - hole.astype(jnp.float32))
  sizes = [n // compression for n in keep.shape[2:4]]
  return interpolation.resize_axes(keep, (2, 3), sizes)
