"""The common part of 4D-STraG and 4D-ViSM: a transformer and its encoders."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax.models import backbone, blocks
from more4d_jax.models.encoders import image as image_encoder
from more4d_jax.models.encoders import text as text_encoder


@dataclasses.dataclass(frozen=True)
class Encoder:
  """An encoder of a denoiser.

  Attributes:
    field: of the configuration, which is None without the encoder.
    method: of the denoiser, which applies it.
    reads: name of what it takes in a training example.
    features: name of what it gives in one.
  """

  field: str
  method: str
  reads: str
  features: str


# By the name of its parameters.
ENCODERS: Mapping[str, Encoder] = {
  "text_encoder": Encoder("text", "text_context", "text", "text_features"),
  "image_encoder": Encoder("image", "image_context", "image", "image_features"),
  "motion_encoder": Encoder(
    "motion", "motion_features", "image", "motion_features"
  ),
}
# Features of the caption "" in a training example.
EMPTY_TEXT = "empty_text_features"


def encoders_of(config: Any) -> tuple[str, ...]:
  """Names of the encoders that a configuration has."""
  return tuple(
    name
    for name, encoder in ENCODERS.items()
    if getattr(config, encoder.field, None) is not None
  )


class Denoiser(nn.Module):
  """Predicts the velocity of noisy latents under some conditions.

  Parameters: "dit", "text_encoder", "image_encoder".

  Attributes:
    config: with the configurations `dit`, `text` and `image`; the last one
      may be None.
  """

  config: Any

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

  def backbone_conditions(self, conditions: Any) -> backbone.Conditions:
    """The network's own conditions as the transformer takes them."""
    raise NotImplementedError

  def embed(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"],
    conditions: Any,
  ) -> tuple[Float[Array, "B N D"], blocks.BlockInputs, backbone.HeadInputs]:
    """The first part of a call, see `backbone.WanDiT.embed`."""
    return self.dit.embed(
      latents, timestep, self.backbone_conditions(conditions)
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
    conditions: Any,
  ) -> Float[Array, "B t h w C"]:
    """Returns the velocity of noisy latents at 1000 * sigma."""
    tokens, inputs, head = self.embed(latents, timestep, conditions)
    return self.finish(self.transform(tokens, inputs), head)

  def example_conditions(
    self,
    latents: Float[Array, "B t h w C"],
    tokens: Int[Array, "B L"],
    image: Float[Array, "B H W 3"],
  ) -> Any:
    """The network's own conditions, made by every encoder it has."""
    raise NotImplementedError

  def initialise(
    self,
    latents: Float[Array, "B t h w C"],
    tokens: Int[Array, "B L"],
    image: Float[Array, "B H W 3"],
  ) -> Float[Array, "B t h w C"]:
    """Touches every parameter, encoders too; for `init`."""
    conditions = self.example_conditions(latents, tokens, image)
    return self(latents, jnp.ones(latents.shape[:1]), conditions)
