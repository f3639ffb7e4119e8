"""A module with its weights, and the latents of the video autoencoder."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.models import latent_stats


@flax.struct.dataclass
class Bound:
  """A module with its parameters; a pytree, so it passes through jit.

  Attributes:
    params: nested dict of float32 arrays.
    module: the network.
    stats: latent statistics of an autoencoder.
  """

  params: Any
  module: nn.Module = flax.struct.field(pytree_node=False)
  stats: latent_stats.LatentStats | None = None

  def __call__(self, *args: Any, method: str = "__call__") -> Any:
    """Applies the module, or one of its methods, deterministically."""
    return self.module.apply({"params": self.params}, *args, method=method)


def encode_video(
  video_vae: Bound, video: Float[Array, "B T H W 3"]
) -> Float[Array, "B t h w C"]:
  """Normalised latents, the posterior's mode.

  Args:
    video_vae: with its statistics.
    video: in [-1, 1].
  """
  mean, _ = video_vae(video, method="encode")
  return video_vae.stats.normalise(mean)


def encode_still(
  video_vae: Bound, picture: Float[Array, "B H W 3"], frames: int
) -> Float[Array, "B t h w C"]:
  """Normalised latents of a picture in [-1, 1] that stands for all frames."""
  video = jnp.repeat(picture[:, None], frames, axis=1)
  return encode_video(video_vae, video)


def decode_video(
  video_vae: Bound, latents: Float[Array, "B t h w C"]
) -> Float[Array, "B T H W 3"]:
  """Video in [0, 1] of normalised latents."""
  video = video_vae(video_vae.stats.denormalise(latents), method="decode")
  return jnp.clip(video / 2 + 0.5, 0.0, 1.0)
