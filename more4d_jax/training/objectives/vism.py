"""4D-ViSM: velocity of video latents under a rendering with holes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from more4d_jax.models import lora as lora_model
from more4d_jax.models import vism as vism_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base, flow

_LORA_KEY = 1  # Folded into the key of all other initial values.


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
  """Flow matching on video latents.

  Attributes:
    lora: trained beside the transformer, as the parameters "lora"; None
      trains the network itself.
  """

  config: vism_model.ViSMConfig
  dropout: ViSMDropout
  lora: lora_model.LoRAConfig | None = None
  target: ClassVar[str] = "target"

  @property
  def network(self) -> vism_model.ViSM:
    """The module; it holds no values."""
    return vism_model.ViSM(self.config)

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters of the network, and of the LoRA if any."""
    params = super().init(key)
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

  def conditions(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> vism_model.ViSMConditions:
    """Conditions of a batch after dropout; latents are normalised already."""
    empty = jnp.max(batch["mask"], axis=(1, 2, 3, 4)) <= 0
    shown = ~empty | self.keep("all_hole", batch, keys)
    image = base.unit_image(batch["image"])
    features = self.encode(params, "image_context", image)
    if features is not None:
      features = base.select(self.keep("image", batch, keys), features, 0)
    return vism_model.ViSMConditions(
      text_context=self.text_context(params, batch, keys),
      mask=base.select(shown, batch["mask"], 0),
      masked=base.select(shown, batch["masked"], 0),
      image_context=features,
    )
