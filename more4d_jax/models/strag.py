"""4D-STraG: from one picture to the latent of its point trajectories.

The transformer with control, depth and reference latents of the picture, text
features, and motion features of the Motion Perception Module. Source:
docs/method/conditioning.md#latent-conditions.
"""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from more4d_jax.models import backbone, denoiser
from more4d_jax.models.encoders import image as image_encoder
from more4d_jax.models.encoders import motion as motion_encoder
from more4d_jax.models.encoders import text as text_encoder

LATENT_CHANNELS = 16
MOTION_FEATURES = ("patches", "global")


@dataclasses.dataclass(frozen=True)
class STraGConfig:
  """Networks and switches of the trajectory generator.

  Attributes:
    dit: 64 input channels, or 48 without depth latents.
    text: text encoder.
    motion: motion encoder, None for a network without motion perception.
    image: image encoder, None for a network without image features.
    use_depth_latents: depth latents follow the other conditions.
    motion_feature: "patches" keeps the features' places; "global" gives all
      tokens their mean.
  """

  dit: backbone.DiTConfig
  text: text_encoder.TextEncoderConfig
  motion: motion_encoder.MotionEncoderConfig | None = None
  image: image_encoder.ImageEncoderConfig | None = None
  use_depth_latents: bool = True
  motion_feature: str = "patches"

  def __post_init__(self) -> None:
    expected = LATENT_CHANNELS * (4 if self.use_depth_latents else 3)
    if self.dit.in_channels != expected:
      raise ValueError(
        f"expected {expected} input channels with use_depth_latents="
        f"{self.use_depth_latents}; found {self.dit.in_channels}; set "
        "dit.in_channels"
      )
    if self.motion_feature not in MOTION_FEATURES:
      raise ValueError(
        f"motion_feature must be one of {', '.join(MOTION_FEATURES)}; found "
        f"{self.motion_feature!r}"
      )
    if (self.motion is None) != (self.dit.motion_width is None):
      raise ValueError(
        "set both motion and dit.motion_width, or neither (None); found "
        f"{self.motion} and {self.dit.motion_width}"
      )

  def without_motion_perception(self) -> "STraGConfig":
    """The ablation without the Motion Perception Module."""
    dit = dataclasses.replace(self.dit, motion_width=None)
    return dataclasses.replace(self, dit=dit, motion=None)

  def with_global_motion_feature(self) -> "STraGConfig":
    """The ablation with one motion feature for all tokens."""
    return dataclasses.replace(self, motion_feature="global")

  def without_depth_latents(self) -> "STraGConfig":
    """The ablation without depth latents."""
    dit = dataclasses.replace(self.dit, in_channels=3 * LATENT_CHANNELS)
    return dataclasses.replace(self, dit=dit, use_depth_latents=False)


@flax.struct.dataclass
class STraGConditions:
  """What the velocity depends on; latents are normalised.

  Attributes:
    text_context: features of the caption.
    control: latents of the picture as a still video.
    depth: latents of the depth picture as a still video, or None.
    reference: latent of the picture; zeros in released weights. None leaves
      the reference tokens out.
    image_context: image features, None for zeros.
    motion_features: see `STraG.motion_features`, None for none.
  """

  text_context: Float[ArrayLike, "B L E"]
  control: Float[ArrayLike, "B t h w C"]
  depth: Float[ArrayLike, "B t h w C"] | None = None
  reference: Float[ArrayLike, "B h w C"] | None = None
  image_context: Float[ArrayLike, "B I F"] | None = None
  motion_features: (
    Float[ArrayLike, "B P M"] | Float[ArrayLike, "B M"] | None
  ) = None


class STraG(denoiser.Denoiser):
  """The transformer and its encoders; conditions are `STraGConditions`.

  Parameters: those of a denoiser and "motion_encoder".
  """

  config: STraGConfig

  def setup(self) -> None:
    """Makes the networks that the configuration names."""
    super().setup()
    if self.config.motion is not None:
      self.motion_encoder = motion_encoder.MotionEncoder(self.config.motion)

  def motion_features(
    self, image: Float[Array, "B H W 3"]
  ) -> Float[Array, "B P M"] | Float[Array, "B M"] | None:
    """Features of the first frame in [0, 1]; None without the module."""
    if self.config.motion is None:
      return None
    features = self.motion_encoder(image)
    if self.config.motion_feature == "global":
      return jnp.mean(features, axis=1)
    return features

  def backbone_conditions(
    self, conditions: STraGConditions
  ) -> backbone.Conditions:
    """Picture and depth are concatenated to the noisy latents."""
    # The slot between control and depth is zero in every released network.
    parts = [conditions.control, jnp.zeros_like(conditions.control)]
    if self.config.use_depth_latents:
      if conditions.depth is None:
        raise ValueError("expected depth latents; found None; give them")
      parts.append(conditions.depth)
    return backbone.Conditions(
      text_context=conditions.text_context,
      condition_latents=jnp.concatenate(parts, axis=-1),
      reference_latent=conditions.reference,
      image_context=conditions.image_context,
      motion_features=conditions.motion_features,
    )

  def example_conditions(
    self,
    latents: Float[Array, "B t h w C"],
    tokens: Int[Array, "B L"],
    image: Float[Array, "B H W 3"],
  ) -> STraGConditions:
    """Conditions that touch every parameter; the latents stand for all."""
    return STraGConditions(
      text_context=self.text_context(tokens),
      control=latents,
      depth=latents,
      reference=latents[:, 0] if self.config.dit.reference else None,
      image_context=self.image_context(image),
      motion_features=self.motion_features(image),
    )
