"""View completion transformer: 36 input channels."""

import dataclasses
import pathlib

import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import stated, transformer4d, wan_weights

_CASES = (
  "main",
  "single",
  "t_per_token",
  "padded_keys_masked",
  "riflex",
  "cfg_skip",
)


def _riflex(text: str) -> tuple[int, int, float]:
  """Reads "enable_riflex(k=2, L_test=3, L_test_scale=4.886)"."""
  k, length, scale = stated.numbers("k=#, L_test=#, L_test_scale=#", text)
  return int(k), int(length), scale


def _case(
  name: str, info: dict, io: dict, config: backbone.DiTConfig, main: dict
) -> tuple[backbone.DiTConfig, dict]:
  """Configuration and inputs of one of `_CASES`."""
  said = info["cases"].get(name.removesuffix("_keys_masked"), "")
  if name == "single":
    i = stated.sample(said)
    main = {key: value[i : i + 1] for key, value in main.items()}
  elif name == "t_per_token":
    main = {**main, "timestep": io["in.t_tokens"]}
  elif name == "padded_keys_masked":
    length = info["seq_len"] + stated.padding(said)
    main = {**main, "sequence_length": length}
  elif name == "riflex":
    config = dataclasses.replace(config, riflex=_riflex(said))
  elif name == "cfg_skip":
    half = len(main["timestep"]) // 2
    main = {key: value[half:] for key, value in main.items()}
  return config, main


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config = wan_weights.dit_config(info["constructor"], weights)
  params = {"params": wan_weights.dit_params(weights, config)}
  main = wan_weights.inputs(io, config)
  out = {}
  for key in io:
    case = key.removeprefix("out.")
    if key.startswith("out.") and case in _CASES:
      case_config, inputs = _case(case, info, io, config, main)
      result = wan_weights.apply(case_config)(params, **inputs)
      out[key] = wan_weights.channels_first(result)
      if case == "cfg_skip":  # The second half's result stands for both.
        out[key] = np.concatenate([out[key], out[key]])
  out.update(transformer4d.gradients(config, params, io, main))
  return out
