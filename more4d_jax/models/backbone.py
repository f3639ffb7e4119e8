"""Wan2.1-style video diffusion transformer.

One network serves trajectory generation (64 input channels, motion features),
view completion (36) and plain text-to-video (16). Source: spec 01.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax import partitioning
from more4d_jax.models import attention as attention_layers
from more4d_jax.models import layers, motion_perception


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
    remat: recompute each layer in the backward pass.
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
  remat: bool = True
  riflex: tuple[int, int, float] | None = None

  def __post_init__(self) -> None:
    if self.width % self.num_heads or (self.width // self.num_heads) % 2:
      raise ValueError(
        f"expected a width of an even number of values per head; found width "
        f"{self.width} and {self.num_heads} heads"
      )

  @property
  def layer(self) -> attention_layers.AttentionConfig:
    """What the attention layers need."""
    return attention_layers.AttentionConfig(
      self.width, self.num_heads, self.eps, self.dtype, self.attention
    )


@flax.struct.dataclass
class BlockInputs:
  """What every block receives besides the tokens."""

  modulation: Float[Array, "B M 6 D"]  # M is 1, or N for a time per token.
  text: Float[Array, "B L D"]
  image: Float[Array, "B I D"] | None
  cos: Float[Array, "N d"]
  sin: Float[Array, "N d"]
  motion: Float[Array, "B n E"] | None
  motion_mask: Float[Array, "N"]
  key_length: Int[Array, "B"] | None


@flax.struct.dataclass
class HeadInputs:
  """What the head needs besides the tokens."""

  time: Float[Array, "B M D"]
  grid: tuple[int, int, int] = flax.struct.field(pytree_node=False)
  first: int = flax.struct.field(pytree_node=False)


class Block(nn.Module):
  """Self-attention, cross-attention and feed-forward with 6-way modulation.

  The residual stream and the modulation are float32. Source: spec 01
  section 6.
  """

  config: DiTConfig

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], inputs: BlockInputs
  ) -> tuple[Float[Array, "B N D"], None]:
    config = self.config
    table = self.param(
      "modulation",
      partitioning.param(layers.normal(config.width**-0.5), ("table", "norm")),
      (6, config.width),
    )
    shift1, scale1, gate1, shift2, scale2, gate2 = jnp.moveaxis(
      table + inputs.modulation, 2, 0
    )
    norm = layers.LayerNorm(config.eps, affine=False)
    u = self._motion(norm(x) * (1 + scale1) + shift1, inputs, "attn")
    out = attention_layers.SelfAttention(config.layer, name="self_attn")(
      u, inputs.cos, inputs.sin, inputs.key_length
    )
    x = self._residual(x + gate1 * out.astype(jnp.float32))
    u = layers.LayerNorm(config.eps, name="cross_norm")(x)
    out = attention_layers.CrossAttention(config.layer, name="cross_attn")(
      u, inputs.text, inputs.image
    )
    x = self._residual(x + out.astype(jnp.float32))
    u = self._motion(norm(x) * (1 + scale2) + shift2, inputs, "ffn")
    out = layers.MLP(
      config.ffn_width, config.width, jax.nn.gelu, config.dtype, name="ffn"
    )(u)
    return self._residual(x + gate2 * out.astype(jnp.float32)), None

  def _residual(self, x):
    return partitioning.constrain(x, "batch", "tokens", "act_embed")

  def _motion(self, u, inputs: BlockInputs, place: str):
    if inputs.motion is None:
      return u
    return motion_perception.MAdaNorm(
      self.config.dtype, name=f"madanorm_{place}"
    )(u, inputs.motion, inputs.motion_mask)


class ImageEmbed(nn.Module):
  """Brings image features to the model's width. Source: spec 01 section 5."""

  width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "B I C"]) -> Float[Array, "B I D"]:
    def exact_gelu(v):
      return jax.nn.gelu(v, approximate=False)

    x = layers.LayerNorm(1e-5, name="norm1")(x)
    x = layers.dense(
      x.shape[-1], ("embed", "mlp"), dtype=self.dtype, name="fc1"
    )(x)
    x = layers.dense(
      self.width, ("mlp", "embed"), dtype=self.dtype, name="fc2"
    )(exact_gelu(x))
    return layers.LayerNorm(1e-5, name="norm2")(x)


class Head(nn.Module):
  """Final modulation and linear map, which starts at zero."""

  config: DiTConfig

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], time: Float[Array, "B M D"]
  ) -> Float[Array, "B N V"]:
    config = self.config
    table = self.param(
      "modulation",
      partitioning.param(layers.normal(config.width**-0.5), ("table", "norm")),
      (2, config.width),
    )
    shift, scale = jnp.moveaxis(table + time[:, :, None], 2, 0)
    x = layers.LayerNorm(config.eps, affine=False)(x) * (1 + scale) + shift
    pt, ph, pw = config.patch
    return layers.dense(
      pt * ph * pw * config.out_channels,
      ("embed", None),
      dtype=config.dtype,
      kernel_init=nn.initializers.zeros,
      name="linear",
    )(x).astype(jnp.float32)


class WanDiT(nn.Module):
  """Predicts the velocity of noisy latents under conditions.

  `__call__` is `embed`, `transform`, `finish`; samplers that skip layers call
  the three themselves.
  """

  config: DiTConfig

  def setup(self) -> None:
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
      self.image_embed = ImageEmbed(config.width, config.dtype)
    if config.motion_width is not None:
      self.motion_aligner = motion_perception.MotionAligner(config.dtype)
    block = nn.remat(Block, prevent_cse=False) if config.remat else Block
    self.blocks = nn.scan(
      block,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=nn.broadcast,
      length=config.num_layers,
      metadata_params={nn.PARTITION_NAME: "layers"},
    )(config)
    self.head = Head(config)

  def __call__(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"] | Float[Array, "B N"],
    text_context: Float[Array, "B L E"],
    *,
    condition_latents: Float[Array, "B t h w Y"] | None = None,
    reference_latent: Float[Array, "B h w C"] | None = None,
    image_context: Float[Array, "B I F"] | None = None,
    motion_features: Float[Array, "B P M"] | Float[Array, "B M"] | None = None,
    sequence_length: int | None = None,
  ) -> Float[Array, "B t h w O"]:
    """Returns the velocity, noise minus data, in float32.

    Args:
      latents: noisy latents.
      timestep: 1000 * sigma, per sample, or per token (reference tokens
        first).
      text_context: text features; rows beyond the text are zero. Fewer rows
        than `config.text_length` are extended by zero rows.
      condition_latents: channels that follow the latents' own.
      reference_latent: one latent frame whose tokens go before the video's;
        None leaves them out.
      image_context: image features; None stands for zeros in a network that
        has them.
      motion_features: one row per patch of `config.motion_grid`, or one
        global row; None makes every MAdaNorm the identity.
      sequence_length: pads the tokens to this count with masked zeros.
    """
    tokens, inputs, head = self.embed(
      latents,
      timestep,
      text_context,
      condition_latents=condition_latents,
      reference_latent=reference_latent,
      image_context=image_context,
      motion_features=motion_features,
      sequence_length=sequence_length,
    )
    return self.finish(self.transform(tokens, inputs), head)

  def embed(
    self,
    latents: Float[Array, "B t h w C"],
    timestep: Float[Array, "B"] | Float[Array, "B N"],
    text_context: Float[Array, "B L E"],
    *,
    condition_latents: Float[Array, "B t h w Y"] | None = None,
    reference_latent: Float[Array, "B h w C"] | None = None,
    image_context: Float[Array, "B I F"] | None = None,
    motion_features: Float[Array, "B P M"] | Float[Array, "B M"] | None = None,
    sequence_length: int | None = None,
  ) -> tuple[Float[Array, "B N D"], BlockInputs, HeadInputs]:
    """Returns float32 tokens and what blocks and head need beside them."""
    config = self.config
    grid = tuple(n // p for n, p in zip(latents.shape[1:4], config.patch))
    if condition_latents is not None:
      latents = jnp.concatenate([latents, condition_latents], axis=-1)
    if latents.shape[-1] != config.in_channels:
      raise ValueError(
        f"expected {config.in_channels} input channels, noisy latents and "
        f"conditions together; found {latents.shape[-1]}"
      )
    tokens = self.patch_embed(latents)
    rows = grid[1] * grid[2]
    first = 0
    if reference_latent is not None:
      first = rows
      reference = self.reference_embed(reference_latent[:, None])
      tokens = jnp.concatenate([reference, tokens], axis=1)
    count = tokens.shape[1]
    length = count if sequence_length is None else sequence_length
    tokens = jnp.pad(tokens, ((0, 0), (0, length - count), (0, 0)))
    tokens = partitioning.constrain(
      tokens.astype(jnp.float32), "batch", "tokens", "act_embed"
    )
    time, modulation = self._time(timestep, length)
    cos, sin = layers.rotary_table(
      (first // rows + grid[0], *grid[1:]),
      config.layer.head_dim,
      config.riflex,
    )
    fill = ((0, length - count), (0, 0))
    mask = motion_perception.token_mask(
      grid[0],
      rows,
      reference=first > 0,
      alignment=config.motion_alignment,
      length=length,
    )
    inputs = BlockInputs(
      modulation=modulation,
      text=self._text(text_context),
      image=self._image(image_context, tokens.shape[0]),
      cos=jnp.pad(cos, fill, constant_values=1),
      sin=jnp.pad(sin, fill),
      motion=self._motion(motion_features, grid[1:]),
      motion_mask=jnp.asarray(mask),
      key_length=jnp.full(tokens.shape[:1], count) if length > count else None,
    )
    return tokens, inputs, HeadInputs(time=time, grid=grid, first=first)

  def transform(
    self, tokens: Float[Array, "B N D"], inputs: BlockInputs
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

  def _time(self, timestep, length: int):
    """Returns the time embedding [B M D] and modulation [B M 6 D]."""
    config = self.config
    timestep = timestep.reshape(timestep.shape[0], -1)
    if timestep.shape[1] not in (1, length):
      raise ValueError(
        f"expected one timestep per sample or {length} per sample, one per "
        f"token; found {timestep.shape[1]}"
      )
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


def widen_patch_kernel(
  kernel: Float[Array, "pt ph pw C D"], in_channels: int
) -> Float[Array, "pt ph pw E D"]:
  """Adds zero weights for further input channels after the present ones."""
  extra = in_channels - kernel.shape[3]
  return jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, extra), (0, 0)))
