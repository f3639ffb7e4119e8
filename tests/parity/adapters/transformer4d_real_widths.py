"""One layer with the widths that the original fixes, from a formula."""

import pathlib
import re

import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import wan_weights


def tensor(spec: dict) -> np.ndarray:
  """The values of the formula in config.json: scaled splitmix64 draws."""
  count = int(np.prod(spec["shape"]))
  with np.errstate(over="ignore"):
    z = np.arange(1, count + 1, dtype=np.uint64)
    z = z * np.uint64(0x9E3779B97F4A7C15) + np.uint64(spec["seed"])
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
  uniform = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
  values = spec["std"] * np.sqrt(3) * (2 * uniform - 1)
  values = values.astype(np.float32) + np.float32(spec.get("offset", 0.0))
  return values.reshape(spec["shape"])


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, stored, _ = wan_weights.read(folder)
  weights = {spec["key"]: tensor(spec) for spec in info["parameters"]}
  io = {f"in.{spec['name']}": tensor(spec) for spec in info["inputs"]}
  io["in.t"] = np.asarray(info["t"], np.float32)
  config = wan_weights.dit_config(
    info["constructor"], weights, io.get("in.features")
  )
  inputs = wan_weights.inputs(io, config)
  if info["constructor"]["use_cls_token"]:
    inputs["motion_features"] = io["in.cls_features"]
  params = {"params": wan_weights.dit_params(weights, config)}
  result = backbone.WanDiT(config).apply(params, **inputs)
  out = {"out.main": wan_weights.channels_first(result)}
  for key in stored:
    if first := re.fullmatch(r"out\.check\.(.+)_first(\d+)", key):
      out[key] = weights[first[1]].reshape(-1)[: int(first[2])]
  return out
