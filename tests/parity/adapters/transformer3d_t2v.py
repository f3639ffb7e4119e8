"""Plain text-to-video transformer: 16 input channels, no image features."""

import pathlib

import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import stated, wan_weights


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config = wan_weights.dit_config(info["constructor"], weights)
  model = backbone.WanDiT(config)
  params = {"params": wan_weights.dit_params(weights, config)}
  inputs = wan_weights.inputs(io, config)
  out = {"out.main": model.apply(params, **inputs)}
  if "out.single" in io:
    i = stated.sample(info["cases"]["single"])
    one = {key: value[i : i + 1] for key, value in inputs.items()}
    out["out.single"] = model.apply(params, **one)
  return {key: wan_weights.channels_first(v) for key, v in out.items()}
