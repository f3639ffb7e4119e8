"""Training of the motion autoencoder: normalisation, loss, one whole step."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from more4d_jax.geometry import cameras_compat
from more4d_jax.models import (
  latent_stats,
  motion_vae,
  vae_streaming,
  video_vae,
)
from more4d_jax.training import outliers
from more4d_jax.training.objectives import base
from tests.parity import runner
from tests.parity.adapters import stated, vae_weights, wan_weights
from tests.parity.original import motion as original_motion

_last, _first = wan_weights.channels_last, wan_weights.channels_first

# Names of the original's functions -> our modes.
_MODES = {
  "first_frame": "first_frame_range",
  "relative": "displacement",
  "track": "global_max",
  "z": "depth",
}
# Arguments of the original's script; without any of them the mode is
# "relative".
_FLAGS = {
  "normalize_track": "track",
  "normalize_track_first_frame": "first_frame",
  "normalize_track_z": "z",
}
_SQUARE = "_square_source"


def _normalise(coords, mode: str, alpha: tuple) -> jax.Array:
  tracks = jnp.asarray(_last(coords))
  factors = jnp.broadcast_to(jnp.asarray(alpha, jnp.float32), (len(tracks), 2))
  return original_motion.normalise(tracks, factors, mode)


def _normalisation(io: dict, info: dict) -> dict:
  out = {}
  size = info["H"], info["W"]
  for key in io:
    name = key.removeprefix("out.normalize.")
    mode = _MODES.get(name.removesuffix(_SQUARE))
    if mode is None:
      continue
    source = (info["H_ori"], info["W_ori"])
    if name.endswith(_SQUARE):
      side = stated.numbers(f"{name} uses H_ori = W_ori = #", info["note"])
      source = side * 2
    coords = io["in.normalize.coords"][:, :, : info["num_frames"]]
    motion = _normalise(coords, mode, cameras_compat.aspect_alpha(source, size))
    out[key] = _first(motion)
  return out


def _rec(error: jax.Array, kind: str) -> jax.Array:
  """Sum of a sample's errors, averaged over samples."""
  error = jnp.abs(error) if kind == "l1" else jnp.square(error)
  everywhere = jnp.ones(error.shape, bool)
  return base.masked_mean(error, everywhere) * error[0].size


def _losses(io: dict, kl_scale: float) -> dict:
  error = jnp.asarray(io["in.loss.rec"] - io["in.loss.target"])
  kl = jnp.sum(io["in.loss.kl"]) / len(error)
  out = {}
  for kind in ("l1", "l2"):
    rec = _rec(error, kind)
    out[f"out.loss.{kind}"] = jnp.stack([rec + kl_scale * kl, rec, kl])
  return out


def _tracker(io: dict, rule: dict) -> dict:
  """The rule that leaves losses out, fed one loss at a time."""
  history = outliers.empty(rule["window_size"])
  rows = []
  for loss in io["in.tracker_nonfinite.losses"]:
    skip = outliers.is_outlier(
      history,
      jnp.asarray(loss),
      rule["loss_skip_std_multiplier"],
      rule["loss_skip_min_samples"],
    ) | (loss > rule["loss_skip_absolute_threshold"])
    history = outliers.record(history, jnp.asarray(loss), skip)
    rows.append((skip, *outliers.moments(history)))
  names = ("skipped", "window_mean", "window_std")
  return {
    f"out.tracker.{name}": np.stack(values)
    for name, values in zip(names, zip(*rows, strict=True), strict=True)
  }


@dataclasses.dataclass(frozen=True)
class _Step:
  """The motion autoencoder with the folder's weights, and one step of it."""

  model: motion_vae.MotionVAE
  stats: latent_stats.LatentStats
  args: dict

  def loss(self, trained: dict, frozen: dict, motion, noise) -> tuple:
    """Loss of the trained parts "trajectory_decoder" and "decoder"."""
    params = {
      "trajectory_encoder": frozen["trajectory_encoder"],
      "vae": {**frozen["vae"], "decoder": trained["decoder"]},
      "trajectory_decoder": trained["trajectory_decoder"],
    }
    variables = {"params": params}
    mean, logvar = self.model.apply(variables, motion, method="encode")
    mean = self.stats.normalise(mean)
    latents = video_vae.add_posterior_noise(mean, logvar, noise)
    raw = self.stats.denormalise(latents)
    shown = vae_streaming.decode(
      video_vae.VideoVAE(self.model.config.vae),
      params["vae"],
      raw,
      truncate_gradient=True,  # As the original decodes while it trains.
    )
    decoded = motion_vae.TrajectoryDecoder(self.model.config.adapter).apply(
      {"params": trained["trajectory_decoder"]}, shown
    )
    rec = _rec(decoded - motion, self.args["rec_loss"])
    kl = jnp.sum(video_vae.kl_divergence(mean, logvar)) / len(motion)
    scaled = self.args["kl_scale"] * kl
    video = self.model.apply(variables, motion, method="motion_video")
    return rec + scaled, {
      "out.step.loss_nll_scaledkl": jnp.stack([rec + scaled, rec, scaled]),
      "mid.step.pseudo_video": video,
      "mid.step.latents": latents,
      "mid.step.decoded_video": shown,
      "mid.step.reconstruction": decoded,
      "mid.step.targets": motion,
    }


def _step(folder: pathlib.Path, info: dict, io: dict, weights: dict) -> dict:
  vae_folder = folder.parent / "vae"
  vae_info = json.loads((vae_folder / "config.json").read_text())
  _, _, vae = wan_weights.read(vae_folder)
  vae_config = vae_weights.read_config(vae_info)
  vae_names = vae_weights.vae_names(vae_config)
  parts = {
    side: vae_weights.select(weights, f"{side}_adaptor/")
    for side in ("encoder", "decoder")
  }
  encoder_names, decoder_names = (
    vae_weights.adapter_names(side, part) for side, part in parts.items()
  )
  frozen = {
    "trajectory_encoder": vae_weights.to_ours(parts["encoder"], encoder_names),
    "vae": vae_weights.to_ours(vae, vae_names),
  }
  trained = {
    "trajectory_decoder": vae_weights.to_ours(parts["decoder"], decoder_names),
    "decoder": frozen["vae"]["decoder"],
  }
  sizes = vae_weights.adapter_config(weights)
  step = _Step(
    motion_vae.MotionVAE(motion_vae.MotionVAEConfig(vae_config, sizes)),
    vae_weights.read_stats(vae_info),
    info["step"]["args"],
  )
  size = info["normalize"]
  alpha = cameras_compat.aspect_alpha(
    (size["H_ori"], size["W_ori"]), (size["H"], size["W"])
  )
  chosen = [mode for flag, mode in _FLAGS.items() if step.args[flag]]
  mode = _MODES[chosen[0] if chosen else "relative"]
  coords = io["in.step.coords"][:, :, : step.args["num_frames"]]
  motion = _normalise(coords, mode, alpha)
  noise = jnp.asarray(_last(io["in.step.eps"]))
  gradient = jax.jit(jax.grad(step.loss, has_aux=True))
  grads, out = gradient(trained, frozen, motion, noise)
  out = {k: _first(v) if k.startswith("mid.") else v for k, v in out.items()}
  norm = optax.global_norm(grads)
  out["out.step.grad_norm_before_clip"] = norm
  clip = jnp.minimum(step.args["max_grad_norm"] / (norm + 1e-6), 1.0)
  grads = jax.tree.map(lambda g: g * clip, grads)
  decoder = vae_weights.adapter_gradients(
    grads["trajectory_decoder"], decoder_names, sizes
  )
  for name, value in decoder.items():
    out[f"grad.step.decoder_adaptor.{name}"] = value
  tree = {"decoder": grads["decoder"]}
  found = vae_weights.to_original(tree, vae_names, "decoder/")
  for name, value in found.items():
    out[f"grad.step.vae_{name}"] = value
  return out


def run(folder: pathlib.Path) -> dict[str, runner.Result]:
  """Every required key, and values inside the step."""
  info, io, weights = wan_weights.read(folder)
  out = _normalisation(io, info["normalize"])
  if "in.loss.rec" in io:
    out |= _losses(io, info["loss"]["kl_scale"])
  if "in.tracker_nonfinite.losses" in io:
    out |= _tracker(io, info["tracker"])
  if "in.step.coords" in io:
    out |= _step(folder, info, io, weights)
  return out
