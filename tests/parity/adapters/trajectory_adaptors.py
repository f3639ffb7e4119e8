"""Trajectory encoder and decoder: values and gradients."""

import pathlib

import jax
import jax.numpy as jnp

from more4d_jax.models import motion_vae
from tests.parity import runner
from tests.parity.adapters import vae_weights, wan_weights

_NETWORKS = {
  "encoder": motion_vae.TrajectoryEncoder,
  "decoder": motion_vae.TrajectoryDecoder,
}


def _run_one(io: dict, weights: dict, variant: str, side: str) -> dict:
  prefix = f"{variant}.{side}"
  weights = vae_weights.select(weights, f"{variant}/{side}/")
  names = vae_weights.adapter_names(side, weights)
  params = vae_weights.to_ours(weights, names)
  config = vae_weights.adapter_config(weights)
  model = _NETWORKS[side](config)
  last, first = wan_weights.channels_last, wan_weights.channels_first
  x = jnp.asarray(last(io[f"in.{prefix}"]))
  out = {f"out.{prefix}": first(model.apply({"params": params}, x))}
  if f"in.{variant}.r" not in io:
    return out
  weight = jnp.asarray(last(io[f"in.{variant}.r"]))

  def loss(params, x):
    return jnp.mean(model.apply({"params": params}, x) * weight)

  tree, grad = jax.grad(loss, argnums=(0, 1))(params, x)
  out[f"grad.{prefix}.input"] = first(grad)
  found = vae_weights.adapter_gradients(tree, names, config)
  return out | {f"grad.{prefix}.{name}": v for name, v in found.items()}


def run(folder: pathlib.Path) -> dict[str, runner.Result]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  out = {}
  for variant in info["constructor"]:
    for side in _NETWORKS:
      if f"in.{variant}.{side}" in io:
        out |= _run_one(io, weights, variant, side)
  return out
