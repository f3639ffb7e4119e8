"""Plain text-to-video transformer: 16 input channels, no image features."""

import pathlib

import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import wan_weights


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config = wan_weights.dit_config(info["constructor"], weights)
  model = backbone.WanDiT(config)
  params = {"params": wan_weights.dit_params(weights, config)}
  latents = wan_weights.channels_last(io["in.x"])
  text = wan_weights.text_context(io, config.text_length)
  main = model.apply(params, latents, io["in.t"], text)
  single = model.apply(params, latents[:1], io["in.t"][:1], text[:1])
  return {
    "out.main": wan_weights.channels_first(main),
    "out.single": wan_weights.channels_first(single),
  }
