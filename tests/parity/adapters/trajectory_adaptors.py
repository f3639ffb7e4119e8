"""Trajectory encoder and decoder: values and gradients."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import motion_vae
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
  weight = last(io[f"in.{variant}.r"])

  def loss(params, x):
    output = model.apply({"params": params}, x)
    return jnp.mean(output * weight), output

  gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
  (tree, grad), output = gradient(params, x)
  out = {f"out.{prefix}": first(output), f"grad.{prefix}.input": first(grad)}
  for name, value in vae_weights.to_original(tree, names).items():
    out[f"grad.{prefix}.{name}"] = value
  return out


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every required key of the folder."""
  info, io, weights = wan_weights.read(folder)
  out = {}
  for variant in info["constructor"]:
    for side in _NETWORKS:
      out |= _run_one(io, weights, variant, side)
  return {key: np.asarray(value) for key, value in out.items() if key in io}
