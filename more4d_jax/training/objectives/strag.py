"""4D-STraG: velocity of trajectory latents under a picture and a caption."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Array

from more4d_jax.models import strag as strag_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base, flow


@dataclasses.dataclass(frozen=True)
class STraGDropout:
  """Shares of samples that lose a condition.

  Source: docs/method/conditioning.md#dropout.

  Attributes:
    text: share whose caption becomes empty.
    control: share without the latents of the picture as a still video.
    reference: share without the latent of the picture.
    depth: share without depth latents.
    image: share without image features.
    motion: share without motion features.
  """

  text: float = 0.1
  control: float = 0.02
  reference: float = 0.02
  depth: float = 0.0
  image: float = 0.02
  motion: float = 0.0

  def __post_init__(self) -> None:
    base.check_shares(self, *(f.name for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class STraGObjective(flow.LatentObjective):
  """Flow matching on motion latents, base and trajectory statistics chained."""

  config: strag_model.STraGConfig
  dropout: STraGDropout
  target: ClassVar[str] = "motion"

  @property
  def network(self) -> strag_model.STraG:
    """The module; it holds no values."""
    return strag_model.STraG(self.config)

  def conditions(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> strag_model.STraGConditions:
    """Conditions of a batch after dropout; latents are normalised already."""

    def drop(name: str, features: Any) -> Any:
      if features is None:
        return None
      return base.select(self.keep(name, batch, keys), features, 0)

    config = self.config
    depth = batch["depth"] if config.use_depth_latents else None
    reference = batch["reference"] if config.dit.reference else None
    return strag_model.STraGConditions(
      text_context=self.text_context(params, batch, keys),
      control=drop("control", batch["control"]),
      depth=drop("depth", depth),
      reference=drop("reference", reference),
      image_context=drop(
        "image", self.picture_features(params, batch, "image_encoder")
      ),
      motion_features=drop(
        "motion", self.picture_features(params, batch, "motion_encoder")
      ),
    )
