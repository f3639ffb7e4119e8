"""Trajectory transformer with motion features."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import wan_weights


def _inputs(io: dict, config: backbone.DiTConfig) -> dict:
  return {
    "latents": wan_weights.channels_last(io["in.x"]),
    "timestep": io["in.t"],
    "text_context": wan_weights.text_context(io, config.text_length),
    "condition_latents": wan_weights.channels_last(io["in.y"]),
    "reference_latent": wan_weights.channels_last(io["in.full_ref"]),
    "image_context": io["in.clip_fea"],
    "motion_features": io["in.features"],
  }


def _cases(io: dict, config: backbone.DiTConfig, padding: int) -> dict:
  """Inputs of each case."""
  main = _inputs(io, config)
  no_ref = {**main, "reference_latent": None}
  whole = io["in.cls_features"]
  _, t, h, w, _ = main["latents"].shape
  tokens = t * h * w // 4
  rows = h * w // 4
  with_ref = {**main, "sequence_length": tokens + rows + padding}
  without = {**no_ref, "sequence_length": tokens + padding}
  return {
    "main": main,
    "main_keys_masked": main,
    "cls_token": {**main, "motion_features": whole},
    "no_ref": no_ref,
    "no_ref_cls_token": {**no_ref, "motion_features": whole},
    "no_first_frame": {**main, "motion_features": None},
    "guidance_off": {**main, "motion_features": None},
    "single": {key: value[1:2] for key, value in main.items()},
    "padded_keys_masked": with_ref,
    "padded_no_ref_keys_masked": without,
  }


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config = wan_weights.dit_config(
    info["constructor"], weights, io["in.features"].shape[1]
  )
  model = backbone.WanDiT(config)
  params = {"params": wan_weights.dit_params(weights, config)}
  out = {}
  for name, inputs in _cases(io, config, padding=6).items():
    if f"out.{name}" in io:
      result = model.apply(params, **inputs)
      out[f"out.{name}"] = wan_weights.channels_first(result)
  out.update(gradients(config, params, io, _inputs(io, config)))
  return out


def gradients(
  config: backbone.DiTConfig, params: dict, io: dict, inputs: dict
) -> dict[str, np.ndarray]:
  """Loss against in.grad_target, its value and gradients, through remat."""
  if "in.grad_target" not in io:
    return {}
  model = backbone.WanDiT(dataclasses.replace(config, remat=True))
  target = wan_weights.channels_last(io["in.grad_target"])

  def loss(params):
    error = model.apply(params, **inputs) - target
    return jnp.mean(jnp.square(error))

  value, grads = jax.jit(jax.value_and_grad(loss))(params)
  out = {"out.grad_loss": np.asarray(value)}
  for key, like in io.items():
    if key.startswith("grad."):
      name = key.removeprefix("grad.")
      out[key] = wan_weights.dit_gradient(grads["params"], name, like, config)
  return out
