"""From the picture to the velocity, through a small motion encoder."""

import pathlib

import numpy as np

from more4d_jax.models import backbone
from more4d_jax.models.encoders import motion
from tests.parity.adapters import wan_weights


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  prefix = "omnimae_extractor."
  trunk = {
    key.removeprefix(prefix): value
    for key, value in weights.items()
    if key.startswith(prefix)
  }
  sizes = info["omnimae"]
  motion_config, motion_params = wan_weights.omnimae(
    trunk, sizes["num_heads"], sizes["img_size"][-1]
  )
  features = motion.MotionEncoder(motion_config).apply(
    {"params": motion_params}, wan_weights.channels_last(io["in.first_frame"])
  )
  config = wan_weights.dit_config(info["constructor"], weights, features)
  if info["constructor"]["use_cls_token"]:
    features = features[:, 0]
  params = {"params": wan_weights.dit_params(weights, config)}
  inputs = {**wan_weights.inputs(io, config), "motion_features": features}
  result = backbone.WanDiT(config).apply(params, **inputs)
  return {"out.main": wan_weights.channels_first(result)}
