"""Image tower up to its last block but one."""

import pathlib
import re

import numpy as np

from more4d_jax.models.encoders import image
from more4d_jax.name_maps import image as names
from more4d_jax.name_maps import matching
from tests.parity.adapters import wan_weights

_GREY_SIZE = (64, 64)


def load(
  weights: dict[str, np.ndarray], sizes: dict
) -> tuple[image.ImageEncoderConfig, dict]:
  """Configuration and parameters of the image tower."""
  found = matching.match(names.CLIP, matching.shapes_of(weights))
  config = names.config(found, sizes["vision_heads"])
  return config, matching.to_params(found, weights)


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config, params = load(weights, info["constructor"])
  model = image.ImageEncoder(config)
  variables = {"params": params}
  out = {}
  for key, value in io.items():
    if key.startswith("in.") and key.endswith(".image"):
      picture = np.moveaxis(value, 0, -1) * 0.5 + 0.5  # [1 H W 3]
      name = key.removeprefix("in.").removesuffix(".image")
      out[f"out.{name}"] = np.asarray(model.apply(variables, picture))
    elif grey := re.fullmatch(r"out\.grey_(\d+)", key):
      # Of any size: a picture of one colour stays so when it is resized.
      level = int(grey[1]) / 255
      picture = np.full((1, *_GREY_SIZE, 3), level, np.float32)
      out[key] = np.asarray(model.apply(variables, picture))
  return out
