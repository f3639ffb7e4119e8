"""Wan2.1-style video diffusion transformer.

One network serves trajectory generation (64 input channels, motion features),
view completion (36) and plain text-to-video (16). Source:
docs/method/transformer.md#forward-pass.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.kernels.attention import context_parallel
from more4d_jax.models import attention as attention_layers
from more4d_jax.models import blocks, layers, motion_perception


@dataclasses.dataclass(frozen=True)
class DiTConfig:
  """Sizes and switches of the transformer.

  Attributes:
    image_width: width of image features, None for a network without them.
    reference: reference tokens may be put before the video tokens.
    motion_width: width of motion features, None for a network without them.
    motion_grid: rows and columns of the motion encoder's patches.
    motion_alignment: see `motion_perception.token_mask`.
    dtype: of matrix products; all else is float32.
    attention: implementation, see `kernels.attention.dispatch`.
    context_attention: how self-attention runs over tokens that a mesh divides,
      see `kernels.attention.context_parallel`.
    norm_rotary: implementation, see `kernels.norm_rotary.dispatch`.
    remat: what of each layer the backward pass finds, see `models.remat`.
    riflex: see `layers.axis_frequencies`.
  """

  width: int
  ffn_width: int
  num_heads: int
  num_layers: int
  in_channels: int
  out_channels: int = 16
  patch: tuple[int, int, int] = (1, 2, 2)
  text_width: int = 4096
  text_length: int = 512
  frequency_width: int = 256
  eps: float = 1e-6
  image_width: int | None = None
  image_tokens: int = 257
  reference: bool = False
  motion_width: int | None = None
  motion_grid: tuple[int, int] = (14, 14)
  motion_alignment: str = "aligned"
  dtype: str = "float32"
  attention: str = "auto"
  context_attention: str = "ring"
  norm_rotary: str = "auto"
  remat: str = "full"
  riflex: tuple[int, int, float] | None = None

  def __post_init__(self) -> None:
    if self.width % self.num_heads or (self.width // self.num_heads) % 2:
      raise ValueError(
        f"expected a width of an even number of values per head; found width "
        f"{self.width} and {self.num_heads} heads"
      )
    if self.context_attention not in context_parallel.FORMS:
      raise ValueError(
        f"context_attention must be {' or '.join(context_parallel.FORMS)}; "
        f"found {self.context_attention!r}"
      )

  @property
  def layer(self) -> attention_layers.AttentionConfig:
    """What the attention layers need."""
    return attention_layers.AttentionConfig(
      self.width,
      self.num_heads,
      self.eps,
      self.dtype,
      self.attention,
      self.context_attention,
      self.norm_rotary,
    )


@flax.struct.dataclass
class Conditions:
  """What the velocity depends on besides latents and timestep.

  Attributes:
    text_context: text features; rows beyond the text are zero. Fewer rows
      than `config.text_length` are extended by zero rows.
    condition_latents: channels that follow the noisy latents' own.
    reference_latent: one latent frame whose tokens go before the video's;
      None leaves them out.
    image_context: image features; None stands for zeros in a network that
      has them.
    motion_features: one row per patch of `config.motion_grid`, or one global
      row; None makes every MAdaNorm the identity.
  """

  text_context: Float[Array, "B L E"]
  condition_latents: Float[Array, "B t h w Y"] | None = None
  reference_latent: Float[Array, "B h w C"] | None = None
  image_context: Float[Array, "B I F"] | None = None
  motion_features: Float[Array, "B P M"] | Float[Array, "B M"] | None = None


@flax.struct.dataclass
class HeadInputs:
  """Values that the head needs besides the tokens."""

  time: Float[Array, "B M D"]
  grid: tuple[int, int, int] = flax.struct.field(pytree_node=False)
  first: int = flax.struct.field(pytree_node=False)


class WanDiT(nn.Module):
  """Predicts the velocity of noisy latents under conditions.

  `__call__` is `embed`, `transform`, `finish`; samplers that skip layers call
  the three themselves.
  """

  config: DiTConfig

  def setup(self) -> None:
    """Makes the networks that the configuration names."""
    config = self.config
    self.patch_embed = layers.PatchEmbed(
      config.patch, config.width, config.dtype
    )
    if config.reference:
      self.reference_embed = layers.PatchEmbed(
        (1, *config.patch[1:]),
        config.width,
        config.dtype,
        nn.initializers.variance_scaling(
          1 / 3, "fan_in", "uniform", in_axis=(0, 1, 2, 3), out_axis=4
        ),
      )
    mlp_init = {"kernel_init": layers.normal(0.02), "in_axis": None}
    self.text_embed = layers.MLP(
      config.width, config.width, jax.nn.gelu, config.dtype, **mlp_init
    )
    self.time_embed = layers.MLP(
      config.width, config.width, jax.nn.silu, "float32", **mlp_init
    )
    self.time_projection = layers.dense(
      6 * config.width, ("embed", None), dtype="float32"
    )
    if config.image_width is not None:
      self.image_embed = blocks.ImageEmbed(config.width, config.dtype)
    if config.motion_width is not None:
      self.motion_aligner = motion_perception.MotionAligner(config.dtype)
    stack = layers.stacked(blocks.Block, config.num_layers, config.remat)
    self.blocks = stack(config.layer, config.ffn_width)
    pt, ph, pw = config.patch
    self.head = blocks.Head(config.layer, pt * ph * pw * config.out_channels)

  def __call__(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"] | Float[Array, "B M"],
    text_context: Float[Array, "B L E"],
    *,
    sequence_length: int | None = None,
    **conditions: Array | None,
  ) -> Float[Array, "B t h w O"]:
    """Returns the velocity, noise minus data, in float32.

    Args:
      latents: noisy latents.
      timestep: 1000 * sigma, per sample, or per token (reference tokens
        first).
      text_context: see `Conditions`.
      sequence_length: pads the tokens to this count with masked zeros. They
        are also padded where the mesh does not divide their number.
      **conditions: the optional fields of `Conditions`.
    """
    tokens, inputs, head = self.embed(
      latents,
      timestep,
      Conditions(text_context, **conditions),
      sequence_length=sequence_length,
    )
    return self.finish(self.transform(tokens, inputs), head)

  def embed(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"] | Float[Array, "B M"],
    conditions: Conditions,
    *,
    sequence_length: int | None = None,
  ) -> tuple[Float[Array, "B N D"], blocks.BlockInputs, HeadInputs]:
    """Returns float32 tokens and what blocks and head need beside them."""
    config = self.config
    t, h, w = (n // p for n, p in zip(latents.shape[1:4], config.patch))
    tokens = self._tokens(latents, conditions)
    count = tokens.shape[1]
    first = count - t * h * w  # Reference tokens stand before the video.
    length = count if sequence_length is None else sequence_length
    filling = partitioning.filling("tokens", length)
    timestep = _extended(timestep, length, filling)
    length += filling
    fill = ((0, length - count), (0, 0))
    tokens = jnp.pad(tokens, ((0, 0), *fill))
    tokens = partitioning.constrain(tokens, "batch", "tokens", "act_embed")
    time, modulation = self._time(timestep)
    angles = layers.rotary_angles(
      (count // (h * w), h, w), config.layer.head_dim, config.riflex
    )
    mask = motion_perception.token_mask(
      t,
      h * w,
      reference=first > 0,
      alignment=config.motion_alignment,
      length=length,
    )
    inputs = blocks.BlockInputs(
      modulation=modulation,
      text=self._text(conditions.text_context),
      image=self._image(conditions.image_context, tokens.shape[0]),
      angles=jnp.pad(angles, fill),
      motion=self._motion(conditions.motion_features, (h, w)),
      motion_mask=jnp.asarray(mask),
      key_length=jnp.full(tokens.shape[:1], count) if length > count else None,
    )
    return tokens, inputs, HeadInputs(time=time, grid=(t, h, w), first=first)

  def transform(
    self, tokens: Float[Array, "B N D"], inputs: blocks.BlockInputs
  ) -> Float[Array, "B N D"]:
    """Runs the blocks."""
    return self.blocks(tokens, inputs)[0]

  def finish(
    self, tokens: Float[Array, "B N D"], head: HeadInputs
  ) -> Float[Array, "B t h w O"]:
    """Maps tokens to the velocity; drops reference and padding tokens."""
    t, h, w = head.grid
    values = self.head(tokens, head.time)
    values = values[:, head.first : head.first + t * h * w]
    return layers.unpatchify(values, head.grid, self.config.patch)

  def _tokens(self, latents, conditions: Conditions):
    """Returns tokens of the reference latent, if any, and of the video."""
    if conditions.condition_latents is not None:
      parts = [latents, conditions.condition_latents]
      latents = jnp.concatenate(parts, axis=-1)
    if latents.shape[-1] != self.config.in_channels:
      raise ValueError(
        f"expected {self.config.in_channels} input channels, noisy latents "
        f"and conditions together; found {latents.shape[-1]}"
      )
    tokens = self.patch_embed(latents)
    if conditions.reference_latent is not None:
      reference = self.reference_embed(conditions.reference_latent[:, None])
      # They are joined whole, because a shard of one is no shard of both.
      tokens = jnp.concatenate(
        [
          partitioning.constrain(x, "batch", None, "act_embed")
          for x in (reference, tokens)
        ],
        axis=1,
      )
    return tokens.astype(jnp.float32)

  def _time(self, timestep):
    """Returns the time embedding [B M D] and modulation [B M 6 D]."""
    config = self.config
    time = self.time_embed(
      layers.timestep_embedding(timestep, config.frequency_width)
    )
    modulation = self.time_projection(jax.nn.silu(time))
    return time, modulation.reshape(*time.shape[:2], 6, config.width)

  def _text(self, text):
    missing = self.config.text_length - text.shape[1]
    if missing < 0:
      raise ValueError(
        f"expected at most {self.config.text_length} rows of text features; "
        f"found {text.shape[1]}"
      )
    text = jnp.pad(text, ((0, 0), (0, missing), (0, 0)))
    return self.text_embed(text).astype(jnp.float32)

  def _image(self, image, batch: int):
    config = self.config
    if config.image_width is None:
      if image is not None:
        raise ValueError("this network takes no image features; found some")
      return None
    if image is None:
      image = jnp.zeros((batch, config.image_tokens, config.image_width))
    return self.image_embed(image)

  def _motion(self, features, target: tuple[int, int]):
    if features is None:
      return None
    if features.ndim == 2:
      return features[:, None].astype(jnp.float32)
    aligned = self.motion_aligner(features, self.config.motion_grid, target)
    return partitioning.constrain(aligned, "batch", None, "channels")


def _extended(timestep, length: int, filling: int):
  """Timesteps [B 1] or, with those of the padding, [B N]."""
  timestep = timestep.reshape(timestep.shape[0], -1)
  if timestep.shape[1] not in (1, length):
    raise ValueError(
      f"expected one timestep per sample or {length} per sample, one per "
      f"token; found {timestep.shape[1]}"
    )
  if timestep.shape[1] == 1:
    return timestep
  return jnp.pad(timestep, ((0, 0), (0, filling)), mode="edge")


def widen_patch_kernel(
  kernel: Float[Array, "pt ph pw C D"], in_channels: int
) -> Float[Array, "pt ph pw E D"]:
  """Adds zero weights for further input channels after the present ones."""
  extra = in_channels - kernel.shape[3]
  return jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, extra), (0, 0)))
