"""LoRA beside the dense products and merged, on the transformer next door."""

import pathlib

import numpy as np

from more4d_jax.lora import dialects
from more4d_jax.models import backbone, lora, lora_beside, lora_merging
from tests.parity.adapters import wan_weights

_PREFIX = "lora/"


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, stored, tensors = wan_weights.read(folder)
  network, io, weights = wan_weights.read(folder.parent / "transformer3d_inp")
  config = wan_weights.dit_config(network["constructor"], weights)
  params = wan_weights.dit_params(weights, config)
  inputs = wan_weights.inputs(io, config)
  found = dialects.read(
    {
      key.removeprefix(_PREFIX): value
      for key, value in tensors.items()
      if key.startswith(_PREFIX)
    }
  )
  changed = len(info["transformer_keys_changed_by_merge"])
  if len(found.lora.modules) != changed:
    raise ValueError(f"expected {changed} modules, found {found.lora.modules}")
  model, head_dim = backbone.WanDiT(config), config.layer.head_dim

  def out(params: dict, **collections: dict) -> np.ndarray:
    variables = {"params": params, **collections}
    return wan_weights.channels_first(model.apply(variables, **inputs))

  def beside(weight: float) -> np.ndarray:
    chosen = [lora.Weighted(found.lora, weight)]
    return out(params, lora=lora_beside.variables(params, chosen, head_dim))

  part = lora.Weighted(found.lora, info["multiplier"])
  merged = lora_merging.merge(params, [part], head_dim)
  prefix = "merged.transformer."
  return {
    "out.transformer_before": out(params),
    "out.transformer_with_lora_layers": beside(1.0),
    "out.transformer_with_lora_layers_multiplier": beside(part.weight),
    "out.transformer_merged": out(merged),
    **{
      key: wan_weights.dit_gradient(
        merged, key.removeprefix(prefix), like, config
      )
      for key, like in stored.items()
      if key.startswith(prefix)
    },
  }
