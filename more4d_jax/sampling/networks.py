"""A module with its weights, and the latents of the video autoencoder."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8

from more4d_jax.models import latent_stats, lora_beside, vae_streaming

IMAGE_CONTEXTS = ("picture", "grey", "zeros")
GREY = 127 / 255  # Of the picture the original shows its image encoder.

# Clips up to this length are encoded and decoded whole, which compiles sooner;
# longer ones chunk by chunk, which needs no more memory for more frames.
_FRAMES_AT_ONCE = 17


@flax.struct.dataclass
class BoundModule:
  """A module with its parameters; a pytree, so it passes through jit.

  Attributes:
    params: nested dict of arrays; LoRAs may stand beside kernels.
    module: the network.
    stats: latent statistics of an autoencoder.
  """

  params: Any
  module: nn.Module = flax.struct.field(pytree_node=False)
  stats: latent_stats.LatentStats | None = None

  def __call__(self, *args: Any, method: str = "__call__") -> Any:
    """Applies the module, or one of its methods, deterministically."""
    variables = lora_beside.collections(self.params)
    return self.module.apply(variables, *args, method=method)


def posterior(
  autoencoder: BoundModule, video: Float[Array, "B T H W 3"]
) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
  """Mean and log-variance of raw latents.

  Args:
    autoencoder: of videos or of motion.
    video: what it encodes. Beyond 17 frames it goes chunk by chunk.
  """
  if video.shape[1] <= _FRAMES_AT_ONCE:
    return autoencoder(video, method="encode")
  return vae_streaming.encode(autoencoder.module, autoencoder.params, video)


def decode(
  autoencoder: BoundModule, latents: Float[Array, "B t h w C"]
) -> Float[Array, "B T H W 3"]:
  """What raw latents stand for, chunk by chunk beyond 17 frames.

  Args:
    autoencoder: of videos or of motion.
    latents: not normalised.
  """
  if 4 * latents.shape[1] - 3 <= _FRAMES_AT_ONCE:
    return autoencoder(latents, method="decode")
  return vae_streaming.decode(autoencoder.module, autoencoder.params, latents)


def encode_video(
  video_vae: BoundModule, video: Float[Array, "B T H W 3"]
) -> Float[Array, "B t h w C"]:
  """Normalised latents, the posterior's mode.

  Args:
    video_vae: with its statistics.
    video: in [-1, 1].
  """
  mean, _ = posterior(video_vae, video)
  return video_vae.stats.normalise(mean)


def encode_stills(
  video_vae: BoundModule,
  pictures: Sequence[Float[Array, "B H W 3"]],
  frames: int,
) -> list[Float[Array, "B t h w C"]]:
  """Normalised latents of pictures that stand for all frames.

  Args:
    video_vae: with its statistics.
    pictures: of one size, in [-1, 1]; all are encoded in one batch.
    frames: of the clips.
  """
  together = jnp.concatenate(pictures)
  video = jnp.repeat(together[:, None], frames, axis=1)
  return jnp.split(encode_video(video_vae, video), len(pictures))


def unit(colours: UInt8[ArrayLike, "..."]) -> Float[Array, "..."]:
  """Colours in [0, 1]."""
  return jnp.asarray(colours, jnp.float32) / 255.0


def image_context(
  model: BoundModule, image: Float[Array, "B H W 3"], choice: str
) -> Float[Array, "B I F"] | None:
  """Image features for a transformer; None stands for zeros.

  Args:
    model: with the method `image_context`.
    image: in [0, 1].
    choice: one of `IMAGE_CONTEXTS`: of the picture, of a grey one, or zeros.
  """
  if choice == "zeros":
    return None
  if choice == "grey":
    image = jnp.full_like(image, GREY)
  return model(image, method="image_context")


def check_choice(name: str, found: str, allowed: Sequence[str]) -> None:
  """Compares a choice with those there are.

  Raises:
    ValueError: if it is none of them.
  """
  if found not in allowed:
    raise ValueError(
      f"expected {name} to be one of {', '.join(allowed)}, found {found!r}"
    )


def decode_video(
  video_vae: BoundModule, latents: Float[Array, "B t h w C"]
) -> Float[Array, "B T H W 3"]:
  """Video in [0, 1] of normalised latents."""
  video = decode(video_vae, video_vae.stats.denormalise(latents))
  return jnp.clip(video / 2 + 0.5, 0.0, 1.0)
