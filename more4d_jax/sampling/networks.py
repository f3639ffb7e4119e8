"""A module with its weights, and the latents of the video autoencoder."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.models import latent_stats

IMAGE_CONTEXTS = ("picture", "grey", "zeros")
GREY = 127 / 255  # Of the picture the original shows its image encoder.


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


def image_context(
  model: Bound, image: Float[Array, "B H W 3"], choice: str
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
  video_vae: Bound, latents: Float[Array, "B t h w C"]
) -> Float[Array, "B T H W 3"]:
  """Video in [0, 1] of normalised latents."""
  video = video_vae(video_vae.stats.denormalise(latents), method="decode")
  return jnp.clip(video / 2 + 0.5, 0.0, 1.0)
