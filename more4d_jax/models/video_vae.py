"""Causal video autoencoder of Wan 2.1, over whole clips or chunk by chunk."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.models import causal_conv, remat, vae_blocks


@dataclasses.dataclass(frozen=True)
class VideoVAEConfig:
  """Sizes of the autoencoder; the defaults are the published ones.

  Attributes:
    width: channels of the first level.
    multipliers: of the width, one for each level; height and width are halved
      between levels.
    encoder_blocks: residual blocks of an encoder level.
    decoder_blocks: residual blocks of a decoder level.
    temporal_downsample: for each halving, whether it halves frames too.
    latent_channels: of mean and of log-variance.
    dtype: of the computation; parameters, norms and softmax are float32.
    conv: how convolutions are computed, see `causal_conv.causal_conv`.
    remat: what of each level the backward pass finds, see `models.remat`.
  """

  width: int = 96
  multipliers: tuple[int, ...] = (1, 2, 4, 4)
  encoder_blocks: int = 2
  decoder_blocks: int = 3
  temporal_downsample: tuple[bool, ...] = (False, True, True)
  latent_channels: int = 16
  dtype: str = "float32"
  conv: str = "auto"
  remat: str = "none"

  def __post_init__(self):
    for name in ("multipliers", "temporal_downsample"):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    if len(self.temporal_downsample) != len(self.multipliers) - 1:
      raise ValueError(
        f"{len(self.multipliers)} levels need {len(self.multipliers) - 1} "
        f"temporal_downsample flags, found {len(self.temporal_downsample)}"
      )

  @property
  def temporal_factor(self) -> int:
    """Frames after the first that one latent frame stands for."""
    return 2 ** sum(self.temporal_downsample)

  @property
  def spatial_factor(self) -> int:
    """Pixels along a latent cell's side."""
    return 2 ** len(self.temporal_downsample)

  def latent_shape(
    self, frames: int, height: int, width: int
  ) -> tuple[int, int, int, int]:
    """Shape [t h w C] of the latents of a clip."""
    factor = self.spatial_factor
    t = (frames - 1) // self.temporal_factor + 1
    return t, height // factor, width // factor, self.latent_channels


def _level(module: type[nn.Module], config: VideoVAEConfig) -> type[nn.Module]:
  return remat.wrapped(module, config.remat)


class _EncoderLevel(nn.Module):
  config: VideoVAEConfig
  index: int

  @nn.compact
  def __call__(self, x: Float[Array, "B T H W I"]) -> Float[Array, "B t h w O"]:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    features = config.width * config.multipliers[self.index]
    for i in range(config.encoder_blocks):
      x = vae_blocks.ResidualBlock(
        features, dtype, config.conv, name=f"block_{i}"
      )(x)
    if self.index < len(config.temporal_downsample):
      temporal = config.temporal_downsample[self.index]
      x = vae_blocks.Downsample(temporal, dtype, name="downsample")(x)
    return x


class _DecoderLevel(nn.Module):
  config: VideoVAEConfig
  index: int  # 0 is the coarsest level.

  @nn.compact
  def __call__(self, x: Float[Array, "B t h w I"]) -> Float[Array, "B T H W O"]:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    features = config.width * config.multipliers[::-1][self.index]
    for i in range(config.decoder_blocks):
      x = vae_blocks.ResidualBlock(
        features, dtype, config.conv, name=f"block_{i}"
      )(x)
    if self.index < len(config.temporal_downsample):
      temporal = config.temporal_downsample[::-1][self.index]
      x = vae_blocks.Upsample(temporal, dtype, config.conv, name="upsample")(x)
    return x


class _Middle(nn.Module):
  config: VideoVAEConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B t h w C"]) -> Float[Array, "B t h w C"]:
    dtype, features = jnp.dtype(self.config.dtype), x.shape[-1]
    block = vae_blocks.ResidualBlock
    x = block(features, dtype, self.config.conv, name="block_0")(x)
    x = vae_blocks.FrameAttention(dtype, name="attention")(x)
    return block(features, dtype, self.config.conv, name="block_1")(x)


class Encoder(nn.Module):
  """Video to moments, before the quantisation convolution."""

  config: VideoVAEConfig

  @nn.compact
  def __call__(
    self, video: Float[Array, "B T H W 3"]
  ) -> Float[Array, "B t h w M"]:
    """Encodes; M is twice the latent channels."""
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    conv = vae_blocks.StreamConv
    x = conv(config.width, dtype, config.conv, name="conv_in")(video)
    for i in range(len(config.multipliers)):
      x = _level(_EncoderLevel, config)(config, i, name=f"level_{i}")(x)
    x = _level(_Middle, config)(config, name="middle")(x)
    x = nn.silu(vae_blocks.ChannelNorm(name="norm_out")(x))
    moments = 2 * config.latent_channels
    return conv(moments, dtype, config.conv, name="conv_out")(x)


class Decoder(nn.Module):
  """Latents, after the convolution that follows quantisation, to video."""

  config: VideoVAEConfig

  @nn.compact
  def __call__(
    self, latents: Float[Array, "B t h w C"]
  ) -> Float[Array, "B T H W 3"]:
    """Decodes, without clamping."""
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    conv, top = vae_blocks.StreamConv, config.width * config.multipliers[-1]
    x = conv(top, dtype, config.conv, name="conv_in")(latents)
    x = _level(_Middle, config)(config, name="middle")(x)
    for i in range(len(config.multipliers)):
      x = _level(_DecoderLevel, config)(config, i, name=f"level_{i}")(x)
    x = nn.silu(vae_blocks.ChannelNorm(name="norm_out")(x))
    return conv(3, dtype, config.conv, name="conv_out")(x)


class VideoVAE(nn.Module):
  """The autoencoder. Videos lie in [-1, 1]; latents are not normalised.

  Parameters: "encoder", "quant_conv", "post_quant_conv", "decoder".
  Source: docs/method/video_autoencoder.md#streaming. Differs from the original:
  a whole clip at once, which gives the same values and full gradients.
  """

  config: VideoVAEConfig

  def setup(self):
    """Names the four parts."""
    channels = self.config.latent_channels
    dtype = jnp.dtype(self.config.dtype)
    pointwise = causal_conv.CausalConv
    self.encoder = Encoder(self.config)
    self.quant_conv = pointwise(2 * channels, (1, 1, 1), dtype=dtype)
    self.post_quant_conv = pointwise(channels, (1, 1, 1), dtype=dtype)
    self.decoder = Decoder(self.config)

  def encode(
    self, video: Float[Array, "B T H W 3"]
  ) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
    """Returns the posterior's mean and log-variance, float32.

    Args:
      video: in [-1, 1]. Frames left over beyond 1 + 4 k are dropped.

    Raises:
      ValueError: if height or width is not a multiple of the spatial factor.
    """
    frames, height, width = video.shape[1:4]
    factor = self.config.spatial_factor
    if height % factor or width % factor:
      raise ValueError(
        f"video of {height}x{width} pixels: height and width must be "
        f"multiples of {factor}; crop or resize it"
      )
    kept = (frames - 1) // self.config.temporal_factor
    video = video[:, : 1 + kept * self.config.temporal_factor]
    return self.encode_chunk(video)

  def encode_chunk(
    self, video: Float[Array, "B T H W 3"]
  ) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
    """As `encode`, for frames that continue those kept in "stream"."""
    moments = self.quant_conv(self.encoder(video)).astype(jnp.float32)
    mean, logvar = jnp.split(moments, 2, axis=-1)
    return vae_blocks.constrain(mean), vae_blocks.constrain(logvar)

  def decode(
    self, latents: Float[Array, "B t h w C"], *, clamp: bool = True
  ) -> Float[Array, "B T H W 3"]:
    """Returns the video in float32, cut to [-1, 1] unless `clamp` is False."""
    video = self.decoder(self.post_quant_conv(latents)).astype(jnp.float32)
    return jnp.clip(video, -1.0, 1.0) if clamp else video

  def __call__(
    self, video: Float[Array, "B T H W 3"]
  ) -> Float[Array, "B T H W 3"]:
    """Decodes the mean; makes all parameters when initialised."""
    return self.decode(self.encode(video)[0])


def add_posterior_noise(
  mean: Float[Array, "*shape"],
  logvar: Float[Array, "*shape"],
  noise: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
  """Latents of a posterior: mean + exp(clip(logvar, -30, 20) / 2) * noise."""
  return mean + jnp.exp(0.5 * jnp.clip(logvar, -30.0, 20.0)) * noise


def kl_divergence(
  mean: Float[Array, "B t h w C"], logvar: Float[Array, "B t h w C"]
) -> Float[Array, "B"]:
  """Divergence of each posterior from the unit normal, summed, in nats."""
  logvar = jnp.clip(logvar, -30.0, 20.0)
  terms = mean**2 + jnp.exp(logvar) - 1.0 - logvar
  return 0.5 * jnp.sum(terms, axis=(1, 2, 3, 4))
