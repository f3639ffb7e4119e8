"""Transformers under the original's names, and reading a folder."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors_numpy

from more4d_jax.models import backbone
from more4d_jax.models.encoders import motion as motion_encoder
from more4d_jax.name_maps import dit, matching, motion, table

_PATCHES = 14 * 14  # Of the published motion encoder.
_OMNIMAE = "omnimae_extractor."


def read(folder: pathlib.Path) -> tuple[dict, dict, dict]:
  """Returns config, inputs and outputs, weights (empty if there are none)."""
  config = json.loads((folder / "config.json").read_text())
  io = safetensors_numpy.load_file(folder / "io.safetensors")
  weights = folder / "weights.safetensors"
  if not weights.exists():
    return config, io, {}
  return config, io, safetensors_numpy.load_file(weights)


def channels_last(x: np.ndarray) -> np.ndarray:
  """[B C ...] to [B ... C]."""
  return np.moveaxis(x, 1, -1)


def channels_first(x) -> np.ndarray:
  """[B ... C] to [B C ...]."""
  return np.moveaxis(np.asarray(x), -1, 1)


def _matched(weights: dict[str, np.ndarray]) -> table.Match:
  own = {k: v for k, v in weights.items() if not k.startswith(_OMNIMAE)}
  return matching.match(dit.DIT, matching.shapes_of(own))


def dit_params(
  weights: dict[str, np.ndarray], config: backbone.DiTConfig
) -> dict:
  """Parameters of `WanDiT`; blocks are stacked."""
  found = _matched(weights).with_head_dim(config.layer.head_dim)
  params = matching.to_params(found, weights)
  return jax.tree.map(jnp.asarray, params)


def dit_gradient(
  grads: dict, key: str, like: np.ndarray, config: backbone.DiTConfig
) -> np.ndarray:
  """A gradient under an original key, in the original's layout."""
  grads = jax.tree.map(np.asarray, grads)
  shapes = matching.shapes_of(matching.flatten(grads))
  found = matching.match_params(dit.DIT, shapes)
  found = found.with_head_dim(config.layer.head_dim)
  return matching.to_weights(found, grads)[key].reshape(like.shape)


def dit_config(
  constructor: dict,
  weights: dict[str, np.ndarray],
  features: np.ndarray | None = None,
) -> backbone.DiTConfig:
  """Sizes from the weights where they tell, else from the constructor.

  Args:
    constructor: what the original was built with.
    weights: under the original's names.
    features: [B N E] of the motion encoder, whose patches form a square.
  """
  side = math.isqrt(_PATCHES if features is None else features.shape[1])
  config = dit.config(
    _matched(weights), dit.Stated.read(constructor), (side, side)
  )
  return dataclasses.replace(config, attention="reference", remat="none")


def text_context(io: dict, length: int) -> np.ndarray:
  """Stacks in.context_* with zero rows up to `length`."""
  rows = [
    io[f"in.context_{i}"] for i in range(len(io)) if f"in.context_{i}" in io
  ]
  return np.stack(
    [np.pad(row, ((0, length - len(row)), (0, 0))) for row in rows]
  )


def inputs(io: dict, config: backbone.DiTConfig) -> dict:
  """What `WanDiT` takes of a folder's inputs: those both of them have."""
  found = {
    "latents": channels_last(io["in.x"]),
    "timestep": io["in.t"],
    "text_context": text_context(io, config.text_length),
  }
  if "in.y" in io:
    found["condition_latents"] = channels_last(io["in.y"])
  if "in.full_ref" in io and config.reference:
    found["reference_latent"] = channels_last(io["in.full_ref"])
  if "in.clip_fea" in io and config.image_width is not None:
    found["image_context"] = io["in.clip_fea"]
  if "in.features" in io and config.motion_width is not None:
    found["motion_features"] = io["in.features"]
  return jax.tree.map(jnp.asarray, found)


@functools.cache
def apply(config: backbone.DiTConfig) -> Callable[..., jax.Array]:
  """The compiled `WanDiT` of a configuration."""
  model = backbone.WanDiT(config)
  return jax.jit(model.apply, static_argnames="sequence_length")


def omnimae(
  weights: dict[str, np.ndarray], heads: int, size: int
) -> tuple[motion_encoder.MotionEncoderConfig, dict]:
  """The trunk's configuration and parameters; keys start with "trunk."."""
  found = matching.match(motion.OMNIMAE, matching.shapes_of(weights))
  config = motion.config(found, heads, size)
  return config, matching.to_params(found, weights)
