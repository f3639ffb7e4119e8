"""The flow matching on latents that STraG and ViSM share.

A batch holds the features of the encoders that are frozen, and for those that
are trained along what they read: tokens and the picture.

Source: docs/method/flow_matching.md#objective.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from more4d_jax.models import denoiser, flow_matching, latent_stats
from more4d_jax.models import lora as lora_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base

_LORA_KEY = 1  # Folded into the key of all other initial values.

Velocity = Callable[
  [Float[Array, "B t h w C"], Float[Array, "B"]], Float[Array, "B t h w C"]
]


def posterior_sample(
  mean: Float[Array, "B t h w C"],
  logvar: Float[Array, "B t h w C"],
  stats: latent_stats.LatentStats,
  keys: steps.Keys,
) -> Float[Array, "B t h w C"]:
  """Draws raw latents of a VAE's posterior and standardises them."""
  return stats.normalise(base.sample_posterior(mean, logvar, keys))


def flow_loss(
  velocity: Velocity,
  latents: Float[Array, "B t h w C"],
  config: flow_matching.FlowConfig,
  keys: steps.Keys,
) -> tuple[Float[Array, ""], steps.Measured]:
  """Noises latents and compares the network's velocity with the true one.

  Args:
    velocity: (noisy latents, timestep) -> velocity, under its conditions.
    latents: standardised clean latents.
    config: noise levels and weights.
    keys: of this step.
  """
  batch = latents.shape[0]

  def sigmas(key: Key[Array, ""], count: int) -> Float[Array, "B"]:
    return flow_matching.sample_sigmas(key, count, config)

  sigma = keys.draw("sigma", sigmas, batch)
  noise = keys.normal("noise", latents.shape)
  noisy = flow_matching.add_noise(latents, noise, sigma)
  predicted = velocity(noisy, flow_matching.TIMESTEP_SCALE * sigma)
  target = flow_matching.velocity_target(latents, noise)
  losses = flow_matching.velocity_loss(predicted, target, sigma, config)
  return jnp.mean(losses), by_noise(losses, sigma)


def by_noise(
  losses: Float[Array, "B"], sigma: Float[Array, "B"]
) -> dict[str, steps.Mean]:
  """Losses of samples by the quarter that their noise level lies in."""
  quarter = jnp.clip(jnp.floor(4 * sigma), 0, 3)
  return {
    f"loss_at_noise/{number / 4:.2f}": steps.Mean(
      jnp.sum(losses, where=quarter == number),
      jnp.sum(quarter == number, dtype=jnp.float32),
    )
    for number in range(4)
  }


@dataclasses.dataclass(frozen=True)
class LatentObjective(abc.ABC):
  """Flow matching on latents that frozen networks made.

  Attributes:
    config: the network.
    stats: of the raw latents.
    flow: noise levels.
    dropout: shares of samples that lose a condition, drawn independently.
    grid: (t, h, w) of the latents.
    image_size: (H, W) of the picture.
    empty_text: tokens [L] of the caption "".
    lora: trained beside the transformer, as the parameters "lora"; None
      trains the network itself.
    target: of the cache's fields TARGET_mean and TARGET_logvar.
  """

  config: Any
  stats: latent_stats.LatentStats
  flow: flow_matching.FlowConfig
  dropout: Any
  grid: tuple[int, int, int]
  image_size: tuple[int, int]
  empty_text: Int[np.ndarray, "L"]
  lora: lora_model.LoRAConfig | None = None
  target: ClassVar[str]

  @property
  @abc.abstractmethod
  def network(self) -> nn.Module:
    """The module; it holds no values."""

  @abc.abstractmethod
  def conditions(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> Any:
    """Conditions of a batch after dropout; latents are normalised already."""

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters of transformer, encoders and LoRA if any."""
    params = self.network.init(
      key,
      jnp.zeros((1, *self.grid, self.config.dit.out_channels)),
      jnp.zeros((1, len(self.empty_text)), jnp.int32),
      jnp.zeros((1, *self.image_size, 3)),
      method="initialise",
    )["params"]
    if self.lora is None:
      return params
    mine = jax.random.fold_in(key, _LORA_KEY)
    tree = lora_model.init(mine, params["dit"], self.lora.rank)
    return {**params, lora_model.COLLECTION: tree}

  def variables(self, params: Any) -> dict[str, Any]:
    """What the network is applied with, of parameters as `init` makes them."""
    if self.lora is None:
      return {"params": params}
    network = dict(params)
    tree = network.pop(lora_model.COLLECTION)
    dit = lora_model.scaled(tree, self.lora)
    return {"params": network, lora_model.COLLECTION: {"dit": dit}}

  def keep(
    self, name: str, batch: Mapping[str, Array], keys: steps.Keys
  ) -> Bool[Array, "B"]:
    """Draws which samples keep the condition `dropout` has under a name."""
    count = batch[f"{self.target}_mean"].shape[0]
    return base.keep_mask(keys, name, getattr(self.dropout, name), count)

  def encode(self, params: Any, method: str, value: Array) -> Any:
    """Applies an encoder of the network; None where it has none."""
    return self.network.apply({"params": params}, value, method=method)

  def picture_features(
    self, params: Any, batch: Mapping[str, Array], name: str
  ) -> Float[Array, "B ..."] | None:
    """Features of the picture; None if the network has no such encoder.

    Args:
      params: of the encoder too, if the batch holds the picture instead.
      batch: see the module.
      name: of `denoiser.ENCODERS`.
    """
    if name not in denoiser.encoders_of(self.config):
      return None
    encoder = denoiser.ENCODERS[name]
    if encoder.features in batch:
      return batch[encoder.features]
    image = base.unit_image(batch[encoder.reads])
    return self.encode(params, encoder.method, image)

  def text_context(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> Float[Array, "B L E"]:
    """Features of the captions; dropped ones are empty captions."""
    kept = self.keep("text", batch, keys)
    encoder = denoiser.ENCODERS["text_encoder"]
    if encoder.features in batch:
      full, empty = batch[encoder.features], batch[denoiser.EMPTY_TEXT]
      beyond = full.shape[1] - empty.shape[1]
      empty = jnp.pad(empty, ((0, 0), (0, beyond), (0, 0)))
      return base.select(kept, full, empty)
    text = base.select(kept, batch["text"], self.empty_text)
    return self.encode(params, encoder.method, text)

  def loss(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Measured]:
    """Returns the flow-matching loss of a batch, in float32."""
    batch = {name: _float32(value) for name, value in batch.items()}
    moments = (batch[f"{self.target}_mean"], batch[f"{self.target}_logvar"])
    latents = posterior_sample(*moments, self.stats, keys)
    conditions = self.conditions(params, batch, keys)
    variables = self.variables(params)

    def velocity(noisy: Array, timestep: Array) -> Array:
      return self.network.apply(variables, noisy, timestep, conditions)

    return flow_loss(velocity, latents, self.flow, keys)


def _float32(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
  """Floating numbers in float32, whatever they are kept in."""
  floating = jnp.issubdtype(value.dtype, jnp.floating)
  return value.astype(jnp.float32) if floating else value
