"""4D-ViSM: velocity of video latents under a rendering with holes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from more4d_jax.models import flow_matching, latent_stats
from more4d_jax.models import vism as vism_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base, flow


@dataclasses.dataclass(frozen=True)
class ViSMDropout:
  """Shares of samples that lose a condition (spec 05 section 5).

  Attributes:
    all_hole: mask and rendering of samples that have no rendered pixel.
  """

  text: float = 0.1
  image: float = 0.1
  all_hole: float = 0.9


@dataclasses.dataclass(frozen=True)
class ViSMObjective:
  """Flow matching on cached latents.

  Attributes:
    config: the network.
    stats: of raw video latents.
    flow: noise levels.
    dropout: of conditions, drawn independently per sample.
    grid: (t, h, w) of the latents.
    image_size: (H, W) of the picture.
    empty_text: tokens [L] of the caption "".
  """

  config: vism_model.ViSMConfig
  stats: latent_stats.LatentStats
  flow: flow_matching.FlowConfig
  dropout: ViSMDropout
  grid: tuple[int, int, int]
  image_size: tuple[int, int]
  empty_text: Int[np.ndarray, "L"]

  @property
  def network(self) -> vism_model.ViSM:
    """The module; it holds no values."""
    return vism_model.ViSM(self.config)

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters of transformer and encoders."""
    channels = self.config.dit.out_channels
    return self.network.init(
      key,
      jnp.zeros((1, *self.grid, channels)),
      jnp.zeros((1, len(self.empty_text)), jnp.int32),
      jnp.zeros((1, *self.image_size, 3)),
      method="everything",
    )["params"]

  def conditions(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> vism_model.ViSMConditions:
    """Conditions of a batch after dropout; latents are normalised already."""
    count, rates = batch["text"].shape[0], self.dropout

    def keep(name: str) -> Array:
      return base.keep_mask(
        keys(f"dropout_{name}"), getattr(rates, name), count
      )

    def call(method: str, value: Array) -> Any:
      return self.network.apply({"params": params}, value, method=method)

    text = base.select(keep("text"), batch["text"], self.empty_text)
    empty = jnp.max(batch["mask"], axis=(1, 2, 3, 4)) <= 0
    shown = ~empty | keep("all_hole")
    image = call("image_context", base.unit_image(batch["image"]))
    if image is not None:
      image = base.select(keep("image"), image, 0)
    return vism_model.ViSMConditions(
      text_context=call("text_context", text),
      mask=base.select(shown, batch["mask"], 0),
      masked=base.select(shown, batch["masked"], 0),
      image_context=image,
    )

  def loss(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Metrics]:
    """Returns the flow-matching loss of a batch of the latent cache."""
    latents = flow.posterior_sample(
      batch["target_mean"], batch["target_logvar"], self.stats, keys
    )
    conditions = self.conditions(params, batch, keys)

    def velocity(noisy: Array, timestep: Array) -> Array:
      return self.network.apply({"params": params}, noisy, timestep, conditions)

    return flow.flow_loss(velocity, latents, self.flow, keys)
