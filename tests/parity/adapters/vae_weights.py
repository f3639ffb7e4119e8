"""The video autoencoder and trajectory networks under the original's names."""

import dataclasses
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import latent_stats, motion_vae, video_vae
from more4d_jax.name_maps import matching, table, trajectory, vae
from tests.parity import runner

# Biases of the convolutions that a norm follows, all but the last one's.
_SHIFT = re.compile(r"conv(_in|\d)\.bias$")


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


def vae_names(config: video_vae.VideoVAEConfig) -> table.Table:
  """The names of the video autoencoder."""
  return vae.table_of(config)


def select(weights: Mapping[str, np.ndarray], prefix: str) -> dict:
  """Weights whose name starts with the prefix, without it."""
  return {
    name.removeprefix(prefix): value
    for name, value in weights.items()
    if name.startswith(prefix)
  }


def adapter_names(side: str, weights: Mapping[str, np.ndarray]) -> table.Table:
  """The names of the trajectory "encoder" or "decoder" with these weights."""
  return trajectory.table_of(side, trajectory.blocks_in(weights, side))


def to_ours(weights: Mapping[str, np.ndarray], names: table.Table) -> dict:
  """Returns our tree of parameters; every weight must have a name."""
  found = matching.match(names, matching.shapes_of(weights))
  return jax.tree.map(jnp.asarray, matching.to_params(found, weights))


def to_original(
  tree: Mapping, names: table.Table, prefix: str = ""
) -> dict[str, np.ndarray]:
  """Inverse of `to_ours`, for parameters and their gradients.

  Args:
    tree: our parameters, or some of them.
    names: of the whole network.
    prefix: of our paths; only those names are looked up.
  """
  rows = tuple(
    row for row in names.rows if any(p.startswith(prefix) for p in row.paths)
  )
  names = dataclasses.replace(names, rows=rows)
  tree = jax.tree.map(np.asarray, tree)
  shapes = matching.shapes_of(matching.flatten(tree))
  return matching.to_weights(matching.match_params(names, shapes), tree)


def adapter_gradients(
  tree: Mapping,
  names: table.Table,
  config: motion_vae.TrajectoryAdapterConfig,
) -> dict[str, runner.Result]:
  """Gradients of a trajectory network under the original's names.

  Where each group of the norms is one channel, they take away whatever the
  bias of a convolution before them adds: its gradient is zero in exact
  arithmetic, and is judged against the largest gradient of the network.
  """
  found = to_original(tree, names)
  if config.width != config.groups:
    return dict(found)
  size = max(float(np.abs(value).max()) for value in found.values())
  return {
    name: runner.Cancelling(value, size) if _SHIFT.search(name) else value
    for name, value in found.items()
  }


def adapter_config(
  weights: Mapping[str, np.ndarray], groups: int = 32
) -> motion_vae.TrajectoryAdapterConfig:
  """Sizes of both trajectory networks, from weights of either or both."""
  kernels = [v for k, v in weights.items() if k.endswith("conv_in.weight")]
  return motion_vae.TrajectoryAdapterConfig(
    width=kernels[0].shape[0],
    encoder_blocks=trajectory.blocks_in(weights, "encoder"),
    decoder_blocks=trajectory.blocks_in(weights, "decoder"),
    groups=groups,
  )
