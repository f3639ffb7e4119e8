"""4D-STraG: velocity of trajectory latents under a picture and a caption."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from more4d_jax.models import flow_matching, latent_stats
from more4d_jax.models import strag as strag_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base, flow


@dataclasses.dataclass(frozen=True)
class STraGDropout:
  """Shares of samples that lose a condition (spec 05 section 5)."""

  text: float = 0.1
  control: float = 0.02
  reference: float = 0.02
  depth: float = 0.0
  image: float = 0.02
  motion: float = 0.0


@dataclasses.dataclass(frozen=True)
class STraGObjective:
  """Flow matching on cached latents.

  Attributes:
    config: the network.
    stats: of raw trajectory latents, base and trajectory chained.
    flow: noise levels.
    dropout: of conditions, drawn independently per sample.
    grid: (t, h, w) of the latents.
    image_size: (H, W) of the picture.
    empty_text: tokens [L] of the caption "".
  """

  config: strag_model.STraGConfig
  stats: latent_stats.LatentStats
  flow: flow_matching.FlowConfig
  dropout: STraGDropout
  grid: tuple[int, int, int]
  image_size: tuple[int, int]
  empty_text: Int[np.ndarray, "L"]

  @property
  def network(self) -> strag_model.STraG:
    """The module; it holds no values."""
    return strag_model.STraG(self.config)

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters of transformer and encoders."""
    return self.network.init(
      key,
      jnp.zeros((1, *self.grid, strag_model.LATENT_CHANNELS)),
      jnp.zeros((1, len(self.empty_text)), jnp.int32),
      jnp.zeros((1, *self.image_size, 3)),
      method="everything",
    )["params"]

  def conditions(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> strag_model.STraGConditions:
    """Conditions of a batch after dropout; latents are normalised already."""
    count, rates = batch["text"].shape[0], self.dropout

    def keep(name: str) -> Array:
      return base.keep_mask(
        keys(f"dropout_{name}"), getattr(rates, name), count
      )

    def call(method: str, value: Array) -> Any:
      return self.network.apply({"params": params}, value, method=method)

    def drop(name: str, features: Any) -> Any:
      return None if features is None else base.select(keep(name), features, 0)

    image = base.unit_image(batch["image"])
    text = base.select(keep("text"), batch["text"], self.empty_text)
    use_depth, use_reference = (
      self.config.use_depth_latents,
      self.config.dit.reference,
    )
    return strag_model.STraGConditions(
      text_context=call("text_context", text),
      control=drop("control", batch["control"]),
      depth=drop("depth", batch["depth"]) if use_depth else None,
      reference=(
        drop("reference", batch["reference"]) if use_reference else None
      ),
      image_context=drop("image", call("image_context", image)),
      motion_features=drop("motion", call("motion_features", image)),
    )

  def loss(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Metrics]:
    """Returns the flow-matching loss of a batch of the latent cache."""
    latents = flow.posterior_sample(
      batch["motion_mean"], batch["motion_logvar"], self.stats, keys
    )
    conditions = self.conditions(params, batch, keys)

    def velocity(noisy: Array, timestep: Array) -> Array:
      return self.network.apply({"params": params}, noisy, timestep, conditions)

    return flow.flow_loss(velocity, latents, self.flow, keys)
