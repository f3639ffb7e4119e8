"""Wan VAE from scratch, for sizes without published weights.

Question: none; the base of all other tasks. Clips of pictures, of depth and of
made-up motion, because the other tasks encode all three.
Command: python main.py --config=configs/video_vae.py:size=tiny
  --workdir=runs/video_vae --config.data.records=records/full
"""

import ml_collections

from configs import common
from more4d_jax.training.objectives import video_vae as objective


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("video_vae", size)
  config.batch_size = common.by_size(size, 4, 16)
  config.num_steps = 2000
  config.optimizer.learning_rate = common.by_size(size, 1e-3, 1e-4)
  config.init_from.video_vae = ""  # Optional: weights to continue from.
  # Frames of a clip; 0: those of the size. Single pictures, 1, are learnt
  # first.
  config.clip_frames = 0
  # Side in pixels of the windows that are trained on; 0: whole pictures.
  config.window = {"mini": 48}.get(size, 0)
  config.augment = common.augment()
  config.loss = common.section(objective.VideoLoss)  # Weights, mixture.
  # Records whose latents give mean and deviation.
  config.statistics_records = 256
  return config
