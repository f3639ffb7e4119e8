"""What every objective offers, and what several of them share."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Shaped, UInt8

from more4d_jax.models import video_vae
from more4d_jax.training import step as steps

Batch = Mapping[str, Array]


@runtime_checkable
class Objective(Protocol):
  """One task. Parameters are the whole network's, trained or not."""

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters, a nested dict."""

  def loss(
    self, params: Any, batch: Batch, keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Measured]:
    """Returns the loss and figures to log; pure, float32."""


def check_shares(config: Any, *names: str) -> None:
  """Makes sure that fields of a dataclass are shares.

  Raises:
    ValueError: for one below 0 or above 1.
  """
  for name in names:
    value = getattr(config, name)
    if not 0 <= value <= 1:
      raise ValueError(f"{name} is {value}: expected 0 to 1")


def keep_mask(
  keys: steps.Keys, name: str, rate: float, batch: int
) -> Bool[Array, "B"]:
  """Draws for each sample whether a condition stays, at a dropout rate."""

  def sample(key: Key[Array, ""], count: int) -> Bool[Array, "B"]:
    return jax.random.bernoulli(key, 1.0 - rate, (count,))

  return keys.draw(f"dropout_{name}", sample, batch)


def sample_posterior(
  mean: Float[Array, "B t h w C"],
  logvar: Float[Array, "B t h w C"],
  keys: steps.Keys,
) -> Float[Array, "B t h w C"]:
  """Draws latents of a VAE's posterior."""
  noise = keys.normal("posterior", mean.shape)
  return video_vae.add_posterior_noise(mean, logvar, noise)


def select(
  mask: Bool[Array, "B"], kept: Shaped[Array, "B ..."], other: Any
) -> Shaped[Array, "B ..."]:
  """Takes `kept` for samples where the mask holds, `other` elsewhere."""
  shape = mask.shape + (1,) * (kept.ndim - 1)
  return jnp.where(mask.reshape(shape), kept, jnp.asarray(other, kept.dtype))


def unit_image(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
  """Bytes to float32 in [0, 1]."""
  return image.astype(jnp.float32) / 255.0


def masked_mean(
  values: Float[Array, "..."], mask: Bool[Array, "..."]
) -> Float[Array, ""]:
  """Mean over True elements; 0 where there are none."""
  weight = mask.astype(values.dtype)
  total = jnp.sum(jnp.where(mask, values, 0.0))
  return total / jnp.maximum(jnp.sum(weight), 1.0)
