"""Density of noise levels and weight of errors."""

import pathlib

import numpy as np

from more4d_jax.models import flow_matching
from tests.parity.adapters import wan_weights


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, _ = wan_weights.read(folder)
  options = info["density"]
  out = {}
  for key in io:
    kind, _, name = key.removeprefix("out.").partition(".")
    if kind == "density":
      config = flow_matching.FlowConfig(
        sampling=name,
        logit_mean=options["logit_mean"],
        logit_std=options["logit_std"],
        mode_scale=options["mode_scale"],
      )
      normal = name == "logit_normal"
      draw = io["in.base_normal" if normal else "in.base_uniform"]
      out[key] = flow_matching.density(draw, config)
    elif kind == "weighting":
      out[key] = flow_matching.loss_weight(io["in.sigmas"], name)
  return {key: np.asarray(value) for key, value in out.items()}
