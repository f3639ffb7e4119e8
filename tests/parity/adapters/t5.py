"""Text encoder, with position tables per block and shared ones."""

import pathlib

import numpy as np

from more4d_jax.models.encoders import text
from tests.parity.adapters import wan_weights

_BLOCK = {
  "norm1.scale": "norm1.weight",
  "norm2.scale": "norm2.weight",
  "q.kernel": "attn.q.weight",
  "k.kernel": "attn.k.weight",
  "v.kernel": "attn.v.weight",
  "o.kernel": "attn.o.weight",
  "gate.kernel": "ffn.gate.0.weight",
  "fc1.kernel": "ffn.fc1.weight",
  "fc2.kernel": "ffn.fc2.weight",
}
_POSITION = "pos_embedding.embedding.weight"


def params(weights: dict[str, np.ndarray], layers: int) -> dict:
  """Parameters of `TextEncoder`; a shared table is given to every block."""
  tree: dict = {}
  for ours, original in _BLOCK.items():
    stack = [
      wan_weights.to_ours(weights[f"blocks.{i}.{original}"])
      for i in range(layers)
    ]
    wan_weights.set_path(tree, f"blocks.{ours}", np.stack(stack))
  tables = [
    weights.get(_POSITION, weights.get(f"blocks.{i}.{_POSITION}"))
    for i in range(layers)
  ]
  wan_weights.set_path(tree, "blocks.position", np.stack(tables))
  tree["embedding"] = weights["token_embedding.weight"]
  tree["norm"] = {"scale": weights["norm.weight"]}
  return tree


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  out = {
    "out.buckets": text.relative_buckets(io["in.buckets.relative_position"])
  }
  for variant, sizes in info["constructor"].items():
    config = text.TextEncoderConfig(
      vocabulary=sizes["vocab"],
      width=sizes["dim"],
      attention_width=sizes["dim_attn"],
      ffn_width=sizes["dim_ffn"],
      num_heads=sizes["num_heads"],
      num_layers=sizes["num_layers"],
      num_buckets=sizes["num_buckets"],
    )
    own = {
      key.removeprefix(f"{variant}/"): value
      for key, value in weights.items()
      if key.startswith(f"{variant}/")
    }
    variables = {"params": params(own, config.num_layers)}
    model = text.TextEncoder(config)

    def encode(ids, mask, model=model, variables=variables):
      result = model.apply(
        variables, ids.astype(np.int32), mask.astype(bool), method="encode"
      )
      return np.asarray(result)

    ids = io[f"in.{variant}.ids"]
    out[f"out.{variant}.masked"] = encode(ids, io[f"in.{variant}.mask"])
    out[f"out.{variant}.no_mask"] = encode(ids, np.ones_like(ids))
    if f"in.{variant}.long_ids" in io:
      ids = io[f"in.{variant}.long_ids"]
      out[f"out.{variant}.long"] = encode(ids, np.ones_like(ids))
  return out
