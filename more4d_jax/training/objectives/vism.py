"""4D-ViSM: velocity of video latents under a rendering with holes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from more4d_jax.models import vism as vism_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base, flow


@dataclasses.dataclass(frozen=True)
class ViSMDropout:
  """Shares of samples that lose a condition.

  Source: docs/method/conditioning.md#dropout.

  Attributes:
    text: share whose caption becomes empty.
    image: share without image features.
    all_hole: share without mask and rendering, of the samples that have no
      rendered pixel.
  """

  text: float = 0.1
  image: float = 0.1
  all_hole: float = 0.9

  def __post_init__(self) -> None:
    base.check_shares(self, *(f.name for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class ViSMObjective(flow.LatentObjective):
  """Flow matching on video latents."""

  config: vism_model.ViSMConfig
  dropout: ViSMDropout
  target: ClassVar[str] = "target"

  @property
  def network(self) -> vism_model.ViSM:
    """The module; it holds no values."""
    return vism_model.ViSM(self.config)

  def conditions(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> vism_model.ViSMConditions:
    """Conditions of a batch after dropout; latents are normalised already."""
    empty = jnp.max(batch["mask"], axis=(1, 2, 3, 4)) <= 0
    shown = ~empty | self.keep("all_hole", batch, keys)
    features = self.picture_features(params, batch, "image_encoder")
    if features is not None:
      features = base.select(self.keep("image", batch, keys), features, 0)
    return vism_model.ViSMConditions(
      text_context=self.text_context(params, batch, keys),
      mask=base.select(shown, batch["mask"], 0),
      masked=base.select(shown, batch["masked"], 0),
      image_context=features,
    )
