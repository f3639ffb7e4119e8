"""Names of the video autoencoder and trajectory networks, both ways.

Source: spec 10 sections 3 and 4. Torch kernels are [out, in, (t,) rows,
columns], ours [(t,) rows, columns, in, out].
"""

import re
from collections.abc import Mapping

import flax.traverse_util
import numpy as np

from more4d_jax.models import latent_stats, motion_vae, video_vae


def read_config(info: Mapping) -> video_vae.VideoVAEConfig:
  """Sizes from a folder's config.json."""
  return video_vae.VideoVAEConfig(
    width=info["dim"],
    multipliers=tuple(info["dim_mult"]),
    encoder_blocks=info["num_res_blocks"],
    decoder_blocks=info["num_res_blocks"] + 1,
    temporal_downsample=tuple(info["temperal_downsample"]),
    latent_channels=info["z_dim"],
  )


def read_stats(info: Mapping) -> latent_stats.LatentStats:
  """Latent statistics from a folder's config.json."""
  return latent_stats.LatentStats.from_json(
    {"mean": info["latents_mean"], "std": info["latents_std"]}
  )


def _residual(ours: str, theirs: str) -> dict[str, str]:
  return {
    f"{ours}/norm_1/scale": f"{theirs}.residual.0.gamma",
    **_weights(f"{ours}/conv_1", f"{theirs}.residual.2"),
    f"{ours}/norm_2/scale": f"{theirs}.residual.3.gamma",
    **_weights(f"{ours}/conv_2", f"{theirs}.residual.6"),
  }


def _weights(ours: str, theirs: str) -> dict[str, str]:
  return {
    f"{ours}/kernel": f"{theirs}.weight",
    f"{ours}/bias": f"{theirs}.bias",
  }


def _side(side: str, levels: str, blocks: int, resample: str) -> dict[str, str]:
  """A table for up to eight levels; absent entries are never looked up."""
  table = {}
  table |= _weights(f"{side}/conv_in", f"{side}.conv1")
  table |= _weights(f"{side}/conv_out", f"{side}.head.2")
  table[f"{side}/norm_out/scale"] = f"{side}.head.0.gamma"
  middle = f"{side}/middle"
  table |= _residual(f"{middle}/block_0", f"{side}.middle.0")
  table |= _residual(f"{middle}/block_1", f"{side}.middle.2")
  attention = f"{side}.middle.1"
  table[f"{middle}/attention/norm/scale"] = f"{attention}.norm.gamma"
  table |= _weights(f"{middle}/attention/qkv", f"{attention}.to_qkv")
  table |= _weights(f"{middle}/attention/out", f"{attention}.proj")
  for level in range(8):
    first = level * (blocks + 1)
    for block in range(blocks):
      ours = f"{side}/level_{level}/block_{block}"
      theirs = f"{side}.{levels}.{first + block}"
      table |= _residual(ours, theirs)
      table |= _weights(f"{ours}/shortcut", f"{theirs}.shortcut")
    ours = f"{side}/level_{level}/{resample}"
    theirs = f"{side}.{levels}.{first + blocks}"
    table |= _weights(f"{ours}/spatial", f"{theirs}.resample.1")
    table |= _weights(f"{ours}/temporal", f"{theirs}.time_conv")
  return table


def vae_names(config: video_vae.VideoVAEConfig) -> dict[str, str]:
  """Our name -> the original's, for the video autoencoder."""
  return {
    **_side("encoder", "downsamples", config.encoder_blocks, "downsample"),
    **_side("decoder", "upsamples", config.decoder_blocks, "upsample"),
    **_weights("quant_conv", "conv1"),
    **_weights("post_quant_conv", "conv2"),
  }


def adapter_names(side: str) -> dict[str, str]:
  """Our name -> the original's, for side "encoder" or "decoder"."""
  levels = "down" if side == "encoder" else "up"
  table = {}
  for name in ("conv_in", "conv_out"):
    table |= _weights(name, name)
  norms = {"norm_out": "norm_out"}
  for i in range(8):
    theirs = f"{levels}.0.block.{i}"
    for n in (1, 2):
      table |= _weights(f"block_{i}/conv_{n}", f"{theirs}.conv{n}")
      norms[f"block_{i}/norm_{n}"] = f"{theirs}.norm{n}"
  for ours, theirs in norms.items():
    table[f"{ours}/scale"] = f"{theirs}.weight"
    table[f"{ours}/bias"] = f"{theirs}.bias"
  return table


def select(weights: Mapping[str, np.ndarray], prefix: str) -> dict:
  """Weights whose name starts with the prefix, without it."""
  return {
    name.removeprefix(prefix): value
    for name, value in weights.items()
    if name.startswith(prefix)
  }


def to_ours(
  weights: Mapping[str, np.ndarray], names: Mapping[str, str]
) -> dict:
  """Returns our tree of parameters; every weight must have a name."""
  ours = {theirs: name for name, theirs in names.items()}
  flat = {}
  for name, value in weights.items():
    kernel = value.reshape(-1) if name.endswith("gamma") else value
    if kernel.ndim > 1:
      kernel = np.moveaxis(kernel, (1, 0), (-2, -1))
    flat[ours[name]] = kernel
  return flax.traverse_util.unflatten_dict(flat, sep="/")


def to_original(tree: Mapping, names: Mapping[str, str]) -> dict:
  """Inverse of `to_ours`, for parameters and their gradients."""
  weights = {}
  for name, value in flax.traverse_util.flatten_dict(tree, sep="/").items():
    kernel = np.asarray(value)
    if kernel.ndim > 1:
      kernel = np.moveaxis(kernel, (-2, -1), (1, 0))
    weights[names[name]] = kernel
  return weights


def adapter_config(
  weights: Mapping[str, np.ndarray], groups: int = 32
) -> motion_vae.TrajectoryAdapterConfig:
  """Sizes of both trajectory networks, from weights of either or both."""

  def count(levels: str) -> int:
    pattern = re.compile(rf"(?:.*/)?{levels}\.0\.block\.(\d+)\.")
    found = [int(m.group(1)) for m in map(pattern.match, weights) if m]
    return max(found, default=0) + 1

  kernels = [v for k, v in weights.items() if k.endswith("conv_in.weight")]
  return motion_vae.TrajectoryAdapterConfig(
    width=kernels[0].shape[0],
    encoder_blocks=count("down"),
    decoder_blocks=count("up"),
    groups=groups,
  )
