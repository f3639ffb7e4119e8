"""Video VAE: clips of pictures, depth and made-up motion through a code."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from more4d_jax.geometry import depth as depth_maps
from more4d_jax.models import video_vae as vae_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base


@dataclasses.dataclass(frozen=True)
class VideoLoss:
  """Weights of the loss and the mixture of clips.

  Attributes:
    kl: weight of the mean divergence per latent value.
    l2: weight of the mean squared error beside the mean absolute one.
    gradient: weight of the absolute error of differences along time, rows and
      columns.
    depth_share: share of clips that show depth instead of pictures.
    motion_share: share of clips that resemble motion videos.
  """

  kl: float = 1e-5
  l2: float = 1.0
  gradient: float = 0.5
  depth_share: float = 0.2
  motion_share: float = 0.3

  def __post_init__(self) -> None:
    base.check_shares(self, "depth_share", "motion_share")


def depth_clip(depth: Float[Array, "B T H W"]) -> Float[Array, "B T H W 3"]:
  """Depth films as three equal channels in [-1, 1], one range per film.

  Frames are laid side by side, so that all share the film's range.
  """
  batch, frames, height, width = depth.shape
  wide = jnp.moveaxis(depth, 1, 2).reshape(batch, height, frames * width)
  picture = depth_maps.depth_image(wide)
  picture = picture.reshape(batch, height, frames, width, 3)
  return jnp.moveaxis(picture, 2, 1)


class MotionShape(NamedTuple):
  """How the pixels of a clip like motion change."""

  mix: Float[Array, "B 3 3"]
  waves: Float[Array, "B 4"]
  size: Float[Array, "B"]


def _shapes(key: Key[Array, ""], count: int) -> MotionShape:
  mix_key, wave_key, size_key = jax.random.split(key, 3)
  return MotionShape(
    jax.random.normal(mix_key, (count, 3, 3)),
    jax.random.normal(wave_key, (count, 4)),
    jnp.exp(jax.random.uniform(size_key, (count,), minval=-2.5, maxval=0.7)),
  )


def _uniform(key: Key[Array, ""], count: int) -> Float[Array, "B"]:
  return jax.random.uniform(key, (count,))


def motion_like_clip(
  video: Float[Array, "B T H W 3"], shape: MotionShape
) -> Float[Array, "B T H W 3"]:
  """Clips like motion videos, whose pixels keep their place and change value.

  The colours of the first frame, mixed at random, are scaled by a smooth curve
  of time that starts at 0, and squashed into [-1, 1].

  Args:
    video: pictures in [-1, 1].
    shape: drawn at random.
  """
  frames = video.shape[1]
  time = jnp.linspace(0.0, 1.0, frames)
  waves = jnp.stack(
    [time, time**2, jnp.sin(jnp.pi * time), jnp.sin(2 * jnp.pi * time)]
  )
  curve = shape.waves @ waves  # [B T]
  pattern = jnp.einsum("bhwc,bcd->bhwd", video[:, 0], shape.mix)
  scaled = (shape.size[:, None] * curve)[:, :, None, None, None] * pattern[
    :, None
  ]
  return jnp.tanh(scaled)


def differences(
  error: Float[Array, "B T H W 3"],
) -> Float[Array, ""]:
  """Mean absolute difference of neighbours along time, rows and columns.

  An axis of length 1 has no neighbours and adds nothing.
  """
  return sum(
    jnp.mean(jnp.abs(jnp.diff(error, axis=axis)))
    for axis in (1, 2, 3)
    if error.shape[axis] > 1
  )


@dataclasses.dataclass(frozen=True)
class VideoVAEObjective:
  """Reconstruction of clips under a small divergence."""

  config: vae_model.VideoVAEConfig
  weights: VideoLoss
  video_size: tuple[int, int, int]

  @property
  def network(self) -> vae_model.VideoVAE:
    """The module; it holds no values."""
    return vae_model.VideoVAE(self.config)

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters."""
    return self.network.init(key, jnp.zeros((1, *self.video_size, 3)))["params"]

  def clips(
    self, batch: Mapping[str, Array], keys: steps.Keys
  ) -> Float[Array, "B T H W 3"]:
    """Draws for each sample which kind of clip it shows."""
    video = 2.0 * base.unit_image(batch["video"]) - 1.0
    count = video.shape[0]
    draw = keys.draw("clip_kind", _uniform, count)
    motion = motion_like_clip(video, keys.draw("motion_clip", _shapes, count))
    share = self.weights.depth_share
    clips = base.select(draw < share, depth_clip(batch["depth"]), video)
    return base.select(draw > 1.0 - self.weights.motion_share, motion, clips)

  def loss(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Measured]:
    """Returns the loss of a batch of films and depth films."""
    clips, variables = self.clips(batch, keys), {"params": params}
    mean, logvar = self.network.apply(variables, clips, method="encode")
    latents = base.sample_posterior(mean, logvar, keys)
    # Not clamped, so that values beyond the range still feel the gradient.
    decoded = self.network.apply(
      variables, latents, clamp=False, method="decode"
    )
    error = decoded - clips
    square = jnp.mean(jnp.square(error))
    divergence = jnp.sum(vae_model.kl_divergence(mean, logvar)) / mean.size
    loss = jnp.mean(jnp.abs(error)) + self.weights.l2 * square
    loss += self.weights.gradient * differences(error)
    loss += self.weights.kl * divergence
    # Values span 2, so a peak signal is 2.
    psnr = 10.0 * jnp.log10(4.0 / jnp.maximum(square, 1e-10))
    return loss, {"psnr": psnr, "kl": divergence}
