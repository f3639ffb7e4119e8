"""Text encoder, with position tables per block and shared ones."""

import pathlib

import numpy as np

from more4d_jax.models.encoders import text
from more4d_jax.name_maps import matching
from more4d_jax.name_maps import text as text_names
from tests.parity.adapters import wan_weights


def _own(weights: dict[str, np.ndarray], variant: str) -> dict:
  return {
    key.removeprefix(f"{variant}/"): value
    for key, value in weights.items()
    if key.startswith(f"{variant}/")
  }


def load(
  weights: dict[str, np.ndarray], variant: str, *, shared: bool
) -> tuple[text.TextEncoderConfig, dict]:
  """Configuration and parameters of one variant of the folder."""
  own = _own(weights, variant)
  names = text_names.SHARED_POSITIONS if shared else text_names.UMT5
  found = matching.match(names, matching.shapes_of(own))
  return text_names.config(found), matching.to_params(found, own)


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  out = {}
  if "in.buckets.relative_position" in io:
    sizes = {row["num_buckets"] for row in info["constructor"].values()}
    out["out.buckets"] = text.relative_buckets(
      io["in.buckets.relative_position"], max(sizes)
    )
  for variant, sizes in info["constructor"].items():
    config, params = load(weights, variant, shared=sizes["shared_pos"])
    variables = {"params": params}
    model = text.TextEncoder(config)

    def encode(ids, mask, model=model, variables=variables):
      result = model.apply(
        variables, ids.astype(np.int32), mask.astype(bool), method="encode"
      )
      return np.asarray(result)

    for name, source in (("no_mask", "ids"), ("long", "long_ids")):
      if f"in.{variant}.{source}" in io:
        ids = io[f"in.{variant}.{source}"]
        out[f"out.{variant}.{name}"] = encode(ids, np.ones_like(ids))
    if f"in.{variant}.mask" in io:
      ids, mask = io[f"in.{variant}.ids"], io[f"in.{variant}.mask"]
      out[f"out.{variant}.masked"] = encode(ids, mask)
  return out
