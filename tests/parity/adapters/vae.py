"""Video autoencoder: encoding, decoding, sampling, divergence, gradients."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import vae_streaming, video_vae
from tests.parity.adapters import vae_weights, wan_weights

_last, _first = wan_weights.channels_last, wan_weights.channels_first


def _encode(model, params, stats, io, case) -> dict:
  video = _last(io[f"in.{case}.x"])
  encode = jax.jit(functools.partial(model.apply, method="encode"))
  mean, logvar = encode(params, video)
  normal = stats.normalise(mean)
  out = {
    "parameters": _first(jnp.concatenate([normal, logvar], axis=-1)),
    "mean_unnormalised": _first(mean),
    "mode": _first(normal),
  }
  # The original sums over all axes but the columns.
  columns = jax.vmap(
    lambda m, v: video_vae.kl_divergence(m[:, :, :, None], v[:, :, :, None]),
    in_axes=3,
    out_axes=1,
  )
  out["kl"] = columns(normal, logvar)
  if f"in.{case}.eps" in io:
    noise = _last(io[f"in.{case}.eps"])
    out["sample"] = _first(video_vae.add_posterior_noise(normal, logvar, noise))
  return {f"out.{case}.{name}": value for name, value in out.items()}


def _decode(model, params, stats, io, case) -> dict:
  latents = stats.denormalise(jnp.asarray(_last(io[f"in.{case}.z"])))
  decode = functools.partial(model.apply, method="decode")
  unclamped = jax.jit(functools.partial(decode, clamp=False))(params, latents)
  clamped = jax.jit(decode)(params, latents)
  return {
    f"out.{case}.sample": _first(clamped),
    f"out.{case}.unclamped": _first(unclamped),
  }


def _gradients(model, params, stats, io, names, case) -> dict:
  weight = _last(io["in.grad.r"])

  def loss(params, latents):
    latents = stats.denormalise(latents)
    if case == "decode":
      video = model.apply(params, latents, method="decode")
    else:
      video = vae_streaming.decode(
        model, params["params"], latents, truncate_gradient=True
      )
    return jnp.mean(video * weight)

  latents = jnp.asarray(_last(io["in.grad.z"]))
  tree, grad = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, latents)
  found = vae_weights.to_original(tree["params"], names)
  out = {f"grad.{case}.z": _first(grad)}
  for name, value in found.items():
    out[f"grad.{case}.{name}"] = value
  return out


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every key; the gradients that the original cuts short are cut here too."""
  info, io, weights = wan_weights.read(folder)
  config = vae_weights.read_config(info)
  stats = vae_weights.read_stats(info)
  names = vae_weights.vae_names(config)
  model = video_vae.VideoVAE(config)
  params = {"params": vae_weights.to_ours(weights, names)}
  out = {}
  for key in io:
    case = key.split(".")[1]
    if key == f"in.{case}.x":
      out |= _encode(model, params, stats, io, case)
    elif key == f"in.{case}.z" and case != "grad":
      out |= _decode(model, params, stats, io, case)
  for case in ("decode", "decode_memory_saver"):
    if any(key.startswith(f"grad.{case}.") for key in io):
      out |= _gradients(model, params, stats, io, names, case)
  return {
    key: np.asarray(value).reshape(io[key].shape)
    for key, value in out.items()
    if key in io
  }
