"""Image tower up to its last block but one."""

import pathlib

import numpy as np

from more4d_jax.models.encoders import image
from tests.parity.adapters import wan_weights

_GREY = 127 / 255


def _params(weights: dict[str, np.ndarray]) -> dict:
  prefix = "model.visual."
  own = {
    key.removeprefix(prefix): value
    for key, value in weights.items()
    if key.startswith(prefix)
  }
  blocks = wan_weights.vision_params(
    {
      key.removeprefix("transformer."): value
      for key, value in own.items()
      if key.startswith("transformer.")
    },
    {
      "norm1": "norm1",
      "norm2": "norm2",
      "attn.to_qkv": "qkv",
      "attn.proj": "o",
      "mlp.0": "mlp.fc1",
      "mlp.2": "mlp.fc2",
    },
  )
  return {
    "patch_embed": {
      "kernel": wan_weights.to_ours(own["patch_embedding.weight"])[None]
    },
    "class_token": own["cls_embedding"][0, 0],
    "position": own["pos_embedding"][0],
    "pre_norm": {
      "scale": own["pre_norm.weight"],
      "bias": own["pre_norm.bias"],
    },
    "blocks": _without_last(blocks),
  }


def _without_last(tree: dict) -> dict:
  return {
    key: _without_last(value) if isinstance(value, dict) else value[:-1]
    for key, value in tree.items()
  }


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  sizes = info["constructor"]
  config = image.ImageEncoderConfig(
    image_size=sizes["image_size"],
    patch=sizes["patch_size"],
    width=sizes["vision_dim"],
    num_heads=sizes["vision_heads"],
    num_layers=sizes["vision_layers"] - 1,
    mlp_width=sizes["vision_dim"] * sizes["vision_mlp_ratio"],
  )
  model = image.ImageEncoder(config)
  variables = {"params": _params(weights)}
  out = {}
  for key, value in io.items():
    if key.startswith("in.") and key.endswith(".image"):
      picture = np.moveaxis(value, 0, -1) * 0.5 + 0.5  # [1 H W 3]
      name = key.removeprefix("in.").removesuffix(".image")
      out[f"out.{name}"] = np.asarray(model.apply(variables, picture))
  grey = np.full((1, 64, 64, 3), _GREY, np.float32)
  out["out.grey_127"] = np.asarray(model.apply(variables, grey))
  return out
