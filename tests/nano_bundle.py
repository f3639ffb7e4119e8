"""A checkpoint of the size nano with random weights, for tests."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import partitioning, registry
from more4d_jax.checkpoints import bundling, store
from more4d_jax.models import latent_stats, variants


def shapes_of(variant, kind):
  """Shapes of the parameters of one network of a variant, boxed."""
  module = registry.NETWORKS[kind].module_class(getattr(variant, kind))
  clip = (1, variant.frames, variant.height, variant.width, 3)
  method = "__call__"
  if kind == "depth":
    arguments = [jnp.zeros((1, *clip[2:]))]
  elif kind in ("video_vae", "motion_vae"):
    arguments = [jnp.zeros(clip)]
  else:
    length, method = getattr(variant, kind).text.length, "initialise"
    arguments = [
      jnp.zeros((1, *variant.latent_grid, 16)),
      jnp.zeros((1, length), jnp.int32),
      jnp.zeros((1, *clip[2:])),
    ]
  return jax.eval_shape(
    lambda key: module.init(key, *arguments, method=method)["params"],
    jax.random.key(0),
  )


def params_of(variant, kind, seed=0):
  """Random values of every parameter, from shapes alone: no compilation."""
  generator = np.random.default_rng(seed)

  def one(path, leaf):
    values = generator.standard_normal(leaf.shape).astype(np.float32)
    name = jax.tree_util.keystr(path)
    if len(leaf.shape) < 2 or "norm" in name:
      middle = 1.0 if name.endswith(("['scale']", "['gamma']")) else 0.0
      return np.float32(middle) + np.float32(0.05) * values
    return values / np.float32(np.prod(leaf.shape[:-1]) ** 0.5)

  shapes = partitioning.unbox(shapes_of(variant, kind))
  return jax.tree_util.tree_map_with_path(one, shapes)


def metadata_of(variant, kind):
  """What training writes beside each network."""
  found = {
    "size": variant.name,
    "frames": variant.frames,
    "height": variant.height,
    "width": variant.width,
  }
  if kind in ("video_vae", "motion_vae"):
    stats = latent_stats.LatentStats(
      mean=np.linspace(-0.5, 0.5, 16, dtype=np.float32),
      std=np.linspace(0.5, 1.5, 16, dtype=np.float32),
    )
    found["latent_stats"] = stats.to_json()
  if kind == "motion_vae":
    found["normalisation"] = {"mode": "depth", "fixed_alpha": None}
  if kind in ("strag", "vism"):
    found["sampling"] = {"num_steps": 2, "guidance_scale": 3.0, "shift": 5.0}
  return found


def make(directory: pathlib.Path, size: str = "nano") -> pathlib.Path:
  """Writes workdirs with trained-looking networks, and bundles them."""
  variant = variants.get(size)
  workdirs = []
  for kind in registry.NETWORKS:
    workdir = directory / kind
    store.save_network(
      workdir / "model",
      params_of(variant, kind),
      getattr(variant, kind),
      metadata_of(variant, kind),
    )
    workdirs.append(workdir)
  bundling.bundle(workdirs, directory / "bundle")
  return directory / "bundle"
