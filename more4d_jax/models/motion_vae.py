"""Trajectory encoder and decoder around the video autoencoder."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import causal_conv, remat, video_vae


@dataclasses.dataclass(frozen=True)
class TrajectoryAdapterConfig:
  """Sizes of both trajectory networks; the defaults are the published ones.

  Attributes:
    width: channels; a multiple of `groups`.
    encoder_blocks: residual blocks of the trajectory encoder.
    decoder_blocks: residual blocks of the trajectory decoder.
    groups: of the group norms.
    dtype: of the computation; parameters and norms are float32.
    conv: see `causal_conv.causal_conv`.
    remat: what of each block the backward pass finds, see `models.remat`.
  """

  width: int = 128
  encoder_blocks: int = 1
  decoder_blocks: int = 2
  groups: int = 32
  dtype: str = "float32"
  conv: str = "auto"
  remat: str = "none"

  def __post_init__(self):
    if self.width % self.groups:
      raise ValueError(
        f"trajectory adapter: width {self.width} is not a multiple of "
        f"{self.groups} groups"
      )


@dataclasses.dataclass(frozen=True)
class MotionVAEConfig:
  """The video autoencoder and the trajectory networks around it.

  Attributes:
    vae: video autoencoder.
    adapter: both trajectory networks.
    gain: motion is multiplied by it before the trajectory encoder and divided
      after the trajectory decoder. Most motion is a tenth of the range that a
      video has, which a small autoencoder loses in its own error. 1 in the
      original.
  """

  vae: video_vae.VideoVAEConfig = dataclasses.field(
    default_factory=video_vae.VideoVAEConfig
  )
  adapter: TrajectoryAdapterConfig = dataclasses.field(
    default_factory=TrajectoryAdapterConfig
  )
  gain: float = 1.0

  @property
  def temporal_factor(self) -> int:
    """Frames after the first that one latent frame stands for."""
    return self.vae.temporal_factor


class _Norm(nn.Module):
  """Group norm in float32, of every frame on its own."""

  groups: int

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    frames, height, width, channels = x.shape
    axes = ("norm",)
    ones = partitioning.param(nn.initializers.ones, axes)
    zeros = partitioning.param(nn.initializers.zeros, axes)
    scale = self.param("scale", ones, (channels,))
    bias = self.param("bias", zeros, (channels,))
    full = x.astype(jnp.float32)
    full = full.reshape(frames, height, width, self.groups, -1)
    # Twice: the first frame of any motion is zero, hence constant here, and
    # the rounding of its mean would be enlarged a thousandfold below.
    centred = full - full.mean(axis=(1, 2, 4), keepdims=True)
    centred = centred - centred.mean(axis=(1, 2, 4), keepdims=True)
    variance = (centred * centred).mean(axis=(1, 2, 4), keepdims=True)
    full = (centred * jax.lax.rsqrt(variance + 1e-6)).reshape(x.shape)
    return (full * scale + bias).astype(x.dtype)


def _conv(
  config: TrajectoryAdapterConfig,
  features: int,
  name: str,
  init: Callable[..., Array] | None = None,
) -> causal_conv.FrameConv:
  return causal_conv.FrameConv(
    features,
    dtype=jnp.dtype(config.dtype),
    form=config.conv,
    kernel_init=init,
    bias_init=init,
    name=name,
  )


class _Block(nn.Module):
  config: TrajectoryAdapterConfig

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    config = self.config
    h = nn.silu(_Norm(config.groups, name="norm_1")(x))
    h = _conv(config, config.width, "conv_1")(h)
    h = nn.silu(_Norm(config.groups, name="norm_2")(h))
    return x + _conv(config, config.width, "conv_2")(h)


class _Frames(nn.Module):
  """The chain both networks share, from 3 channels to 3 channels."""

  config: TrajectoryAdapterConfig
  blocks: int
  zero_out: bool

  @nn.compact
  def __call__(self, x: Float[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
    config = self.config
    block = remat.wrapped(_Block, config.remat)
    h = _conv(config, config.width, "conv_in")(x)
    for i in range(self.blocks):
      h = block(config, name=f"block_{i}")(h)
    h = nn.silu(_Norm(config.groups, name="norm_out")(h))
    init = nn.initializers.zeros if self.zero_out else None
    return _conv(config, 3, "conv_out", init)(h).astype(jnp.float32)


class TrajectoryEncoder(nn.Module):
  """Normalised motion to a picture-like motion video.

  Source: docs/method/trajectories.md#trajectory-networks. At initialisation the
  result is tanh(motion / 2).
  """

  config: TrajectoryAdapterConfig

  @nn.compact
  def __call__(
    self, motion: Float[Array, "B T H W 3"]
  ) -> Float[Array, "B T H W 3"]:
    """Returns values in (0, 1); a motion video is 2 * this - 1."""
    blocks = self.config.encoder_blocks
    net = _Frames(self.config, blocks, zero_out=True, name="net")
    nn.share_scope(self, net)
    flat = motion.reshape(-1, *motion.shape[2:])
    return nn.sigmoid(net(flat) + flat).reshape(motion.shape)


class TrajectoryDecoder(nn.Module):
  """Decoded motion video, in [-1, 1], to normalised motion.

  Source: docs/method/trajectories.md#trajectory-networks.
  """

  config: TrajectoryAdapterConfig

  @nn.compact
  def __call__(
    self, video: Float[Array, "B T H W 3"]
  ) -> Float[Array, "B T H W 3"]:
    """Returns normalised motion, unbounded."""
    blocks = self.config.decoder_blocks
    net = _Frames(self.config, blocks, zero_out=False, name="net")
    nn.share_scope(self, net)
    return net(video.reshape(-1, *video.shape[2:])).reshape(video.shape)


class MotionVAE(nn.Module):
  """Normalised motion to latents and back.

  Parameters: "trajectory_encoder", "vae", "trajectory_decoder". Which of them
  are trained is the trainer's choice; gradients reach the trajectory encoder
  through the video encoder.
  """

  config: MotionVAEConfig

  def setup(self):
    """Names the three parts."""
    self.trajectory_encoder = TrajectoryEncoder(self.config.adapter)
    self.vae = video_vae.VideoVAE(self.config.vae)
    self.trajectory_decoder = TrajectoryDecoder(self.config.adapter)

  def motion_video(
    self, motion: Float[Array, "B T H W 3"]
  ) -> Float[Array, "B T H W 3"]:
    """Returns what the video encoder is shown, in (-1, 1)."""
    return 2.0 * self.trajectory_encoder(self.config.gain * motion) - 1.0

  def encode(
    self, motion: Float[Array, "B T H W 3"]
  ) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
    """Returns the raw posterior's mean and log-variance."""
    return self.vae.encode(self.motion_video(motion))

  def encode_chunk(
    self, motion: Float[Array, "B T H W 3"]
  ) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
    """As `encode`, for frames that continue those kept in "stream"."""
    return self.vae.encode_chunk(self.motion_video(motion))

  def decode(
    self, latents: Float[Array, "B t h w C"]
  ) -> Float[Array, "B T H W 3"]:
    """Returns normalised motion from raw latents."""
    video = self.vae.decode(latents)
    return self.trajectory_decoder(video) / self.config.gain

  def __call__(
    self, motion: Float[Array, "B T H W 3"]
  ) -> Float[Array, "B T H W 3"]:
    """Decodes the mean; makes all parameters when initialised."""
    return self.decode(self.encode(motion)[0])
