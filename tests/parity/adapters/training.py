"""Noising, loss, mask packing, depth picture, widening."""

import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.geometry import depth as geometry_depth
from more4d_jax.models import backbone, flow_matching, interpolation, vism
from tests.parity.adapters import stated, wan_weights

_SHIFTED = rf"out\.loss\.s({stated.NUMBER})(?:_(\w+)_plain|\.sigmas)"


def _loss(*arguments: Any) -> jax.Array:
  """The mean over samples, as the original returns it."""
  return jnp.mean(flow_matching.velocity_loss(*arguments))


def _losses(io: dict) -> dict:
  latents, noise, prediction = (
    jnp.asarray(wan_weights.channels_last(io[f"in.loss.{name}"]))
    for name in ("latents", "noise", "prediction")
  )
  target = flow_matching.velocity_target(latents, noise)
  out = {"out.loss.target": wan_weights.channels_first(target)}
  index = jnp.asarray(io["in.loss.indices"], jnp.int32)
  for key in io:
    if limit := re.fullmatch(rf"out\.loss\.threshold({stated.NUMBER})", key):
      strict = flow_matching.FlowConfig(error_limit=float(limit[1]))
      ones = jnp.ones(len(latents))
      out[key] = _loss(prediction, target, ones, strict)
    name = re.fullmatch(_SHIFTED, key)
    if name is None:
      continue
    config = flow_matching.FlowConfig(
      shift=float(name[1]), weighting=name[2] or "none"
    )
    sigma = flow_matching.grid_sigma(index, config)
    prefix = f"out.loss.s{name[1]}"
    if name[2]:
      out[key] = _loss(prediction, target, sigma, config)
      continue
    noisy = flow_matching.add_noise(latents, noise, sigma)
    out[f"{prefix}.sigmas"] = sigma
    out[f"{prefix}.timesteps"] = flow_matching.TIMESTEP_SCALE * sigma
    out[f"{prefix}.noisy"] = wan_weights.channels_first(noisy)
  ones = jnp.ones(len(latents))
  plain = flow_matching.FlowConfig()
  out["grad.loss.prediction"] = wan_weights.channels_first(
    jax.grad(_loss)(prediction, target, ones, plain)
  )
  return out


def _masks(io: dict) -> dict:
  out = {}
  for key, value in io.items():
    if key.startswith("in.mask_T"):
      name = key.removeprefix("in.")
      hole = value[:, :, 0] > 0.5
      out[f"out.{name}"] = wan_weights.channels_first(vism.pack_mask(hole))
      out[f"out.{name}.packed"] = wan_weights.channels_first(
        vism.pack_frames(value[:, :, 0])
      )
  for key, stored in io.items():
    if key.startswith("out.resize_mask."):
      mask = io["in.resize_mask"]
      sizes = stored.shape[2:]
      if key.endswith(".plain"):
        out[key] = interpolation.resize_axes(mask, (2, 3, 4), sizes)
      else:  # The first frame is resized alone.
        rest = (sizes[0] - 1, *sizes[1:])
        parts = [interpolation.resize_axes(mask[:, :, :1], (3, 4), sizes[1:])]
        if mask.shape[2] > 1:
          parts += [interpolation.resize_axes(mask[:, :, 1:], (2, 3, 4), rest)]
        out[key] = np.concatenate(parts, axis=2)
  return out


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  _, io, _ = wan_weights.read(folder)
  out = _masks(io)
  if "in.loss.latents" in io:
    out |= _losses(io)
  if "out.depth" in io:
    z = io["in.depth_nonfinite.coords"][:, 2]
    depth = geometry_depth.depth_image(z, compat=True)
    out["out.depth"] = wan_weights.channels_first(depth)
  if "out.widen_training.weight" in io:
    wide = io["out.widen_training.weight"]
    narrow = np.moveaxis(io["in.widen.weight"], (0, 1), (-1, -2))
    kernel = backbone.widen_patch_kernel(narrow, wide.shape[1])
    out["out.widen_training.weight"] = np.moveaxis(kernel, (-1, -2), (0, 1))
    out["out.widen_training.bias"] = io["in.widen.bias"]
  return out
