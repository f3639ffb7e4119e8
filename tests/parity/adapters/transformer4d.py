"""Trajectory transformer with motion features."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import backbone
from tests.parity.adapters import stated, wan_weights

_CASES = (
  "main",
  "main_keys_masked",
  "cls_token",
  "no_ref",
  "no_ref_cls_token",
  "no_first_frame",
  "guidance_off",
  "single",
  "padded_keys_masked",
  "padded_no_ref_keys_masked",
)


def _case(name: str, info: dict, io: dict, main: dict) -> dict:
  """Inputs of a case, whose name says what it changes of `main`."""
  said = info["cases"].get(name.removesuffix("_keys_masked"), "")
  inputs, length = dict(main), info["seq_len"]
  if "no_ref" in name:
    inputs["reference_latent"] = None
  elif "reference_latent" in main:
    _, _, height, width, _ = main["latents"].shape
    _, down, across = info["constructor"]["patch_size"]
    length += height // down * (width // across)
  if "cls_token" in name:
    inputs["motion_features"] = io["in.cls_features"]
  if name in ("no_first_frame", "guidance_off"):
    inputs["motion_features"] = None
  if name == "single":
    i = stated.sample(said)
    inputs = {key: value[i : i + 1] for key, value in main.items()}
  if name.startswith("padded"):
    said = said if "real tokens" in said else info["cases"]["padded"]
    inputs["sequence_length"] = length + stated.padding(said)
  return inputs


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  config = wan_weights.dit_config(
    info["constructor"], weights, io.get("in.features")
  )
  model = backbone.WanDiT(config)
  params = {"params": wan_weights.dit_params(weights, config)}
  main = wan_weights.inputs(io, config)
  out = {}
  for name in _CASES:
    if f"out.{name}" in io:
      result = model.apply(params, **_case(name, info, io, main))
      out[f"out.{name}"] = wan_weights.channels_first(result)
  out.update(gradients(config, params, io, main))
  return out


def gradients(
  config: backbone.DiTConfig, params: dict, io: dict, inputs: dict
) -> dict[str, np.ndarray]:
  """Loss against in.grad_target, its value and gradients, through remat."""
  if "in.grad_target" not in io:
    return {}
  model = backbone.WanDiT(dataclasses.replace(config, remat="full"))
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
