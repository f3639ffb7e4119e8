"""Objectives of size nano and batches for them, without records."""

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import partitioning
from more4d_jax.geometry import motion
from more4d_jax.models import flow_matching, latent_stats, variants
from more4d_jax.models.encoders import tokenizer
from more4d_jax.training.objectives import (
  depth,
  motion_vae,
  strag,
  video_vae,
  vism,
)

VARIANT = variants.get("nano")
SIZE = (VARIANT.frames, VARIANT.height, VARIANT.width)
STATS = latent_stats.LatentStats(
  mean=np.linspace(-1, 1, 16, dtype=np.float32),
  std=np.linspace(0.5, 2, 16, dtype=np.float32),
)
NONE = strag.STraGDropout(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _tokens(captions, length):
  return tokenizer.ByteTokenizer(length)(captions)


def strag_objective(dropout=None, config=None, lora=None):
  """With its usual dropout unless told."""
  config = config or VARIANT.strag
  return strag.STraGObjective(
    config=config,
    stats=STATS,
    flow=flow_matching.FlowConfig(),
    dropout=dropout or strag.STraGDropout(),
    grid=VARIANT.latent_grid,
    image_size=SIZE[1:],
    empty_text=_tokens([""], config.text.length)[0],
    lora=lora,
  )


def strag_batch(count, seed=0):
  """Random latents and pictures, captions of different lengths."""
  rng = np.random.default_rng(seed)
  grid = VARIANT.latent_grid

  def normal(*shape):
    return rng.standard_normal((count, *shape)).astype(np.float32)

  words = ("left", "slowly to the right")
  captions = [f"a ball moves {words[i % 2]}" for i in range(count)]
  return {
    "motion_mean": normal(*grid, 16),
    "motion_logvar": normal(*grid, 16) - 6,
    "control": normal(*grid, 16),
    "depth": normal(*grid, 16),
    "reference": normal(*grid[1:], 16),
    "image": rng.integers(0, 256, (count, *SIZE[1:], 3), dtype=np.uint8),
    "text": _tokens(captions, VARIANT.strag.text.length),
  }


def vism_objective(dropout=None, lora=None):
  """With its usual dropout unless told."""
  return vism.ViSMObjective(
    config=VARIANT.vism,
    stats=STATS,
    flow=flow_matching.FlowConfig(),
    dropout=dropout or vism.ViSMDropout(),
    grid=VARIANT.latent_grid,
    image_size=SIZE[1:],
    empty_text=_tokens([""], VARIANT.vism.text.length)[0],
    lora=lora,
  )


def vism_batch(count, seed=0):
  """Random latents and a mask that keeps about half."""
  source = strag_batch(count, seed)
  mask = (source["depth"][..., :4] > 0).astype(np.float32)
  return {
    "target_mean": source["motion_mean"],
    "target_logvar": source["motion_logvar"],
    "masked": source["control"],
    "mask": mask,
    "text": source["text"],
  }


def video_objective(**weights):
  """Reconstruction of clips."""
  return video_vae.VideoVAEObjective(
    VARIANT.video_vae, video_vae.VideoLoss(**weights), SIZE
  )


def video_batch(count):
  """A bright square that slides over a slope of grey, and its depth."""
  frames, _, width = SIZE
  video = np.zeros((count, *SIZE, 3), np.uint8)
  video[:] = np.linspace(40, 160, width, dtype=np.uint8)[:, None]
  depth = np.full((count, *SIZE), 4.0, np.float32)
  for i in range(count):
    for t in range(frames):
      left = 4 + 4 * t + i
      video[i, t, 8:20, left : left + 12] = (230, 60, 20)
      depth[i, t, 8:20, left : left + 12] = 2.0
  return {"video": video, "depth": depth}


def motion_objective(config=None, **weights):
  """Reconstruction of motion, divided by depth."""
  return motion_vae.MotionVAEObjective(
    config or VARIANT.motion_vae,
    motion_vae.MotionLoss(**weights),
    motion.MotionNormalisation(),
    SIZE,
  )


def motion_batch(count):
  """A square of points that slides to the right before a still wall."""
  frames, height, width = SIZE
  rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
  focal = 40.0
  depth = np.full((height, width), 4.0, np.float32)
  depth[8:20, 8:24] = 2.0
  first = np.stack(
    [
      (columns - width / 2) / focal * depth,
      (rows - height / 2) / focal * depth,
      depth,
    ],
    axis=-1,
  )
  tracks = np.repeat(first[None], frames, axis=0)
  for t in range(frames):
    tracks[t, 8:20, 8:24, 0] += 0.15 * t
  intrinsics = np.float32([focal, focal, width / 2, height / 2])
  return {
    "tracks": np.repeat(tracks[None], count, axis=0),
    "intrinsics": np.repeat(intrinsics[None], count, axis=0),
  }


def depth_objective(gradient=0.5):
  """Depth of pictures."""
  return depth.DepthObjective(
    VARIANT.depth, depth.DepthLoss(gradient), SIZE[1:]
  )


def depth_batch(count):
  """First frames of `video_batch`."""
  batch = video_batch(count)
  return {"image": batch["video"][:, 0], "depth": batch["depth"][:, 0]}


def abstract(objective):
  """Boxed shapes of an objective's parameters."""
  return jax.eval_shape(lambda: objective.init(jax.random.key(0)))


def random_params(objective, seed=0, scale=1.0):
  """Random values for every parameter, also those that start at zero."""
  rng = np.random.default_rng(seed)

  def one(path, leaf):
    values = rng.standard_normal(leaf.shape).astype(np.float32)
    name = jax.tree_util.keystr(path)
    if name.endswith(("['scale']", "['gamma']")):
      return jnp.asarray(1 + 0.1 * values)
    fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
    return jnp.asarray(scale * values / np.float32(fan_in**0.5))

  return jax.tree_util.tree_map_with_path(
    one, partitioning.unbox(abstract(objective))
  )
