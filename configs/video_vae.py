"""Wan VAE from scratch, for sizes without published weights.

Question: none; the base of all other tasks. Clips of pictures, of depth and of
made-up motion, because the other tasks encode all three.
Command: python main.py --config=configs/video_vae.py:size=tiny
  --workdir=runs/video_vae --config.data.records=records/full
"""

import ml_collections

from configs import common


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
  size = common.arguments(text, size="tiny")["size"]
  config = common.base("video_vae", size)
  config.batch_size = common.by_size(size, 4, 16)
  config.num_steps = 2000
  config.optimizer.learning_rate = common.by_size(size, 1e-3, 1e-4)
  config.init_from.video_vae = ""  # Optional: weights to go on from.
  config.clip_frames = 0  # 0: those of the size; 1: single pictures, first.
  config.augment = common.augment()
  config.loss = ml_collections.ConfigDict()
  config.loss.kl = 1e-5  # Of the mean divergence per latent value.
  config.loss.l2 = 1.0  # Beside the absolute error.
  config.loss.gradient = 0.5  # Of differences between neighbours.
  config.loss.depth_share = 0.2  # Share of clips that show depth ...
  config.loss.motion_share = 0.3  # ... and made-up motion.
  config.statistics_records = 256  # Latents of so many make the statistics.
  return config
