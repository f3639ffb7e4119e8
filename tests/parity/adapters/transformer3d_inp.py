"""View completion transformer: 36 input channels."""

import dataclasses
import pathlib
import re

import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import transformer4d, wan_weights


def _inputs(io: dict, config: backbone.DiTConfig) -> dict:
  return {
    "latents": wan_weights.channels_last(io["in.x"]),
    "timestep": io["in.t"],
    "text_context": wan_weights.text_context(io, config.text_length),
    "condition_latents": wan_weights.channels_last(io["in.y"]),
    "image_context": io["in.clip_fea"],
  }


def _riflex(text: str) -> tuple[int, int, float]:
  """Reads "enable_riflex(k=2, L_test=3, L_test_scale=4.886)"."""
  k, length, scale = re.findall(r"=([\d.]+)", text)
  return int(k), int(length), float(scale)


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config = wan_weights.dit_config(info["constructor"], weights)
  params = {"params": wan_weights.dit_params(weights, config)}
  main = _inputs(io, config)
  half = len(io["in.t"]) // 2
  riflex = dataclasses.replace(config, riflex=_riflex(info["cases"]["riflex"]))
  cases = {
    "main": (config, main),
    "single": (config, {key: value[:1] for key, value in main.items()}),
    "t_per_token": (config, {**main, "timestep": io["in.t_tokens"]}),
    "padded_keys_masked": (
      config,
      {**main, "sequence_length": info["seq_len"] + 5},
    ),
    "riflex": (riflex, main),
    "cfg_skip": (config, {key: value[half:] for key, value in main.items()}),
  }
  out = {}
  for name, (case_config, inputs) in cases.items():
    result = backbone.WanDiT(case_config).apply(params, **inputs)
    result = wan_weights.channels_first(result)
    if name == "cfg_skip":  # The second half's result stands for both.
      result = np.concatenate([result, result])
    out[f"out.{name}"] = result
  out.update(transformer4d.gradients(config, params, io, main))
  return out
