"""Motion encoder trunk."""

import pathlib

import numpy as np

from more4d_jax.models.encoders import motion
from tests.parity.adapters import wan_weights


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  sizes = info["constructor"]
  config, params = wan_weights.omnimae(
    weights, sizes["heads"], sizes["img_size"][-1]
  )
  model = motion.MotionEncoder(config)
  out = {}
  for key, value in io.items():
    if key == "out.sinusoid_table":
      out[key] = motion.position_table(*value.shape)
    if not (key.startswith("in.") and key.endswith(".x")):
      continue
    # Inputs are stored after the normalisation that our module does itself.
    name = key.removeprefix("in.").removesuffix(".x")
    image = wan_weights.channels_last(value) * motion.STD + motion.MEAN
    features = np.asarray(model.apply({"params": params}, image))
    out[f"out.{name}.features"] = features
    out[f"out.{name}.cls"] = features[:, 0]
  return out
